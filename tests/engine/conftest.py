"""A trained run that several tests read; each gets a copy of its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.engine import open_run as opening
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from tests.support.tiny_run import tiny_request, tiny_training


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, protocol and, under ``runs``, a trained 1-shot run of biopt."""
    folder = tmp_path_factory.mktemp("made")
    request = tiny_request(folder, method="biopt", iterations=3, settings=tiny_training())
    execute(make_plan(request))
    return folder


@pytest.fixture
def trained(made: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder."""
    (folder,) = (made / "runs").glob("*/*/*/*")
    return Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.fixture
def changed_code(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Finished runs are opened as if their code had changed since."""
    whole = opening.make_plan

    def changed(request, opened=None):
        plan = whole(request, opened)
        return replace(plan, settings=replace(plan.settings, method_digest="0" * 64))

    monkeypatch.setattr(opening, "make_plan", changed)
    return monkeypatch
