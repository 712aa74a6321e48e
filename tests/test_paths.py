from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench import paths
from fsseg_bench.errors import UserError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of one's own in place of the installed one."""
    folder = tmp_path / "site" / "fsseg_bench"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", folder)
    return folder


def test_the_protocols_are_there() -> None:
    assert (paths.folder("protocols") / "pascal5i.toml").is_file()


def test_a_folder_beside_the_package_is_found(package: Path) -> None:
    (package.parent / "protocols").mkdir()
    assert paths.folder("protocols") == package.parent / "protocols"


def test_a_folder_in_the_package_comes_first(package: Path) -> None:
    (package.parent / "results" / "published").mkdir(parents=True)
    (package / "results" / "published").mkdir(parents=True)
    assert paths.folder("results/published") == package / "results" / "published"


def test_a_missing_folder_names_both_places(package: Path) -> None:
    (package / "protocols").touch()
    with pytest.raises(UserError) as error:
        paths.folder("protocols")
    assert f"looked in {package / 'protocols'} and {package.parent / 'protocols'}" in str(error.value)


@pytest.mark.parametrize(
    ("root", "given", "variables", "expected"),
    [
        (paths.data_root, "/given", {"FSSEG_DATA": "/variable"}, "/given"),
        (paths.data_root, Path("given"), {"FSSEG_DATA": "/variable"}, "given"),
        (paths.data_root, None, {"FSSEG_DATA": "/variable"}, "/variable"),
        (paths.data_root, None, {"FSSEG_DATA": "~/data"}, "/home/me/data"),
        (paths.data_root, "~/data", {}, "/home/me/data"),
        (paths.data_root, None, {}, None),
        (paths.data_root, None, {"FSSEG_DATA": ""}, None),
        (paths.data_root, "", {"FSSEG_DATA": "/variable"}, None),
        (paths.results_root, "out", {"FSSEG_RESULTS": "/variable"}, "out"),
        (paths.results_root, None, {"FSSEG_RESULTS": "/variable"}, "/variable"),
        (paths.results_root, None, {"FSSEG_RESULTS": "~/runs"}, "/home/me/runs"),
        (paths.results_root, None, {}, "results/runs"),
        (lambda _: paths.cache_root(), None, {"FSSEG_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own"),
        (lambda _: paths.cache_root(), None, {"FSSEG_CACHE": "~/own"}, "/home/me/own"),
        (lambda _: paths.cache_root(), None, {"XDG_CACHE_HOME": "/xdg"}, "/xdg/fsseg-bench"),
        (lambda _: paths.cache_root(), None, {"FSSEG_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/fsseg-bench"),
        (lambda _: paths.cache_root(), None, {}, "/home/me/.cache/fsseg-bench"),
    ],
)
def test_what_is_given_then_the_variable_then_the_default(
    root: Callable[[Any], Path | None],
    given: Path | str | None,
    variables: dict[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FSSEG_DATA", "FSSEG_RESULTS", "FSSEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert root(given) == (None if expected is None else Path(expected))
