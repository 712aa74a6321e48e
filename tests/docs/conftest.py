"""A place to follow the documentation in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cache import cache_of
from tests.support.documented import Place


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of ``make demo``, of short trainings."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSSEG_CACHE", str(cache_of(tmp_path_factory)))
        Place(folder, patch).shell(
            "fsseg-bench run --method baseline --method panet --method biopt --dataset shapes5i --shot 1 "
            "--no-estimate --out runs"
        )
    return folder / "runs"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder of a test's own with some photos."""
    return Place(tmp_path, monkeypatch)
