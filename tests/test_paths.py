from __future__ import annotations

from pathlib import Path

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
    ("given", "variable", "expected"),
    [
        ("/given", "/variable", Path("/given")),
        (Path("given"), "/variable", Path("given")),
        (None, "/variable", Path("/variable")),
        (None, "~/data", Path("/home/me/data")),
        ("~/data", None, Path("/home/me/data")),
        (None, None, None),
        (None, "", None),
        ("", "/variable", None),
    ],
)
def test_data_root(
    given: Path | str | None, variable: str | None, expected: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if variable is not None:
        monkeypatch.setenv("FSSEG_DATA", variable)
    assert paths.data_root(given) == expected


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", "/own"),
        ("~/own", None, "/home/me/own"),
        (None, "/xdg", "/xdg/fsseg-bench"),
        ("", "", "/home/me/.cache/fsseg-bench"),
        (None, None, "/home/me/.cache/fsseg-bench"),
    ],
)
def test_cache_root(own: str | None, xdg: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("FSSEG_CACHE", own), ("XDG_CACHE_HOME", xdg)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert paths.cache_root() == Path(expected)


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        ("out", "/variable", "out"),
        (None, "/variable", "/variable"),
        (None, "~/runs", "/home/me/runs"),
        (None, None, "results/runs"),
    ],
)
def test_results_root(given: str | None, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if variable is not None:
        monkeypatch.setenv("FSSEG_RESULTS", variable)
    assert paths.results_root(given) == Path(expected)
