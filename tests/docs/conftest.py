"""A place to follow the documentation in."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.support.cache import cache_of
from tests.support.documented import Place


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, forked_python: str) -> Path:
    """The records of ``make demo``, of short trainings: made once for all processes of pytest-xdist."""
    cache = cache_of(tmp_path_factory)
    folder = cache.parent / "demo"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            patch.setenv("FSSEG_CACHE", str(cache))
            Place(folder, patch, forked_python).shell(
                "fsseg-bench run --method baseline --method panet --method biopt --dataset shapes5i --shot 1 "
                "--no-estimate --out runs"
            )
            (folder / "done").touch()
    return folder / "runs"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_python: str) -> Place:
    """A folder of a test's own with some photos."""
    return Place(tmp_path, monkeypatch, forked_python)
