"""Finished runs opened again: the same plan and parameters, or a refusal that says what is different."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.open_run import RunPlaces, open_model, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.sweep import sweep
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from tests.support.runs import edit_info
from tests.support.tiny_run import finish, tiny_request, tiny_training


def test_what_has_moved_can_be_named(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "moved"))
    folder = finish(tiny_request(root, iterations=2, settings=tiny_training()))
    (root / "tiny-voc.toml").rename(root / "renamed.toml")
    with pytest.raises(UserError, match=r"cannot be opened again: .*--dataset-file"):
        open_run(folder)
    again = open_run(folder, RunPlaces(dataset=str(root / "renamed.toml"), device="cpu"))
    assert again.plan.settings == read_run(folder).info.settings
    assert not again.changed_code


def test_trained_untrained_and_borrowed_parameters_come_back(made: Path, trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    again = open_run(trained).plan.model.state_dict()
    assert all(torch.equal(again[k], v) for k, v in state.items())
    request = tiny_request(made, method="biopt", iterations=None, eval_only=str(trained), out=str(tmp_path / "out"))
    borrowed = open_run(finish(request)).plan.model.state_dict()
    assert all(torch.equal(borrowed[k], v) for k, v in state.items())
    untrained = open_run(finish(replace(request, eval_only=None, iterations=0))).plan.model.state_dict()
    assert not all(torch.equal(untrained[k], v) for k, v in state.items())


def test_other_settings_now_are_refused(trained: Path) -> None:
    passed = json.loads((trained / "run.json").read_text())["passed"]
    edit_info(trained, passed={**passed, "seed": 5})
    with pytest.raises(UserError, match=r"is different now \(then / now\): seed: 0 / 5"):
        open_run(trained)
    del passed["dataset"]
    edit_info(trained, passed=passed)
    with pytest.raises(UserError, match="does not say what was asked for"):
        open_run(trained)


def test_unfinished_runs_are_refused(trained: Path) -> None:
    edit_info(trained, status="evaluating")
    with pytest.raises(UserError, match=r"not done \(status evaluating\)"):
        open_run(trained)


def test_a_checkpoint_that_is_gone(trained: Path) -> None:
    (trained / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match=r"cannot be opened again: .*no such checkpoint"):
        open_run(trained)


def test_a_replayed_list_comes_from_the_record(made: Path, tmp_path: Path) -> None:
    """The file that was given may be gone; the episodes are those of the run all the same."""
    request = tiny_request(made, out=str(tmp_path / "out"))
    make_plan(request).table.head(6).to_csv(tmp_path / "theirs-1.csv")
    folder = finish(replace(request, episodes=str(tmp_path / "theirs-1.csv")))
    (tmp_path / "theirs-1.csv").unlink()
    again = open_run(folder)
    assert again.plan.settings == read_run(folder).info.settings
    assert len(again.plan.table) == 6
    sweep(folder, "alpha", ["5"])
    assert open_model(folder).size == 64
