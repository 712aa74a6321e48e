"""Runs made again: identical where nothing changed, and everything named that did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine import reproduce as module
from fsseg_bench.engine.open_run import RunPlaces
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.reproduce import repetition
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from tests.support.runs import write_run
from tests.support.tiny_run import finish, tiny_request, tiny_training

HERE = RunPlaces(device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    return finish(tiny_request(tmp_path_factory.mktemp("made"), iterations=2, settings=tiny_training(), fold=2))


def test_an_evaluation_from_the_checkpoint(made: Path, tmp_path: Path) -> None:
    again = repetition(made, tmp_path / "out", HERE)
    assert [check.part for check in again.checks if not check.good] == []
    assert {"record", "protocol values", "data", "episodes", "test images or masks", "code", "settings"} == {
        check.part for check in again.checks
    }
    assert again.notes == ()
    folder, found = again.run_again()
    assert [verdict.part for verdict in found] == ["episodes", "scores"]
    assert all(verdict.good for verdict in found)
    assert folder.is_relative_to(tmp_path / "out")
    assert (folder / "predictions.jsonl").stat().st_size > 0
    again_yet, _ = repetition(made, tmp_path / "out", HERE).run_again()
    assert again_yet == folder
    assert folder.with_name(f"{folder.name}.old-1").is_dir(), "made anew, not called finished"


def test_a_training(made: Path, tmp_path: Path) -> None:
    again = repetition(made, tmp_path, HERE, retrain=True)
    assert all(check.good for check in again.checks)
    folder, found = again.run_again()
    assert {verdict.part: verdict.words for verdict in found} == {
        "episodes": "all 12 have the same counts, at both sizes",
        "scores": "the same at input size",
        "training": "the same loss in all 2 iterations",
    }
    assert read_run(folder).info.identity == read_run(made).info.identity


def test_runs_without_a_training_and_of_checkpoints(made: Path, tmp_path: Path) -> None:
    untrained = finish(tiny_request(tmp_path))
    evaluated = finish(
        tiny_request(made.parents[4], out=str(tmp_path / "runs"), iterations=None, eval_only=str(made), fold=2)
    )
    for folder in (untrained, evaluated):
        again = repetition(folder, tmp_path / "out", HERE)
        assert all(check.good for check in again.checks)
        assert all(verdict.good for verdict in again.run_again()[1])
        with pytest.raises(UserError, match="--retrain repeats a training, and this run"):
            repetition(folder, tmp_path / "out", HERE, retrain=True)


def test_a_checkpoint_that_has_moved(made: Path, tmp_path: Path) -> None:
    old = shutil.copytree(made, tmp_path / "old")
    evaluated = finish(
        tiny_request(made.parents[4], out=str(tmp_path / "runs"), iterations=None, eval_only=str(old), fold=2)
    )
    old.rename(tmp_path / "new")
    with pytest.raises(UserError, match=r"cannot be made again: .*old: no such checkpoint.*and --checkpoint\)"):
        repetition(evaluated, tmp_path / "out", HERE)
    again = repetition(evaluated, tmp_path / "out", HERE, checkpoint=str(tmp_path / "new"))
    assert all(check.good for check in again.checks)
    with pytest.raises(UserError, match="--checkpoint is for runs that evaluated one"):
        repetition(made, tmp_path / "out", HERE, checkpoint=str(tmp_path / "new"))


def test_other_masks_give_other_counts(made: Path, tmp_path: Path) -> None:
    data = shutil.copytree(made.parents[4] / "tiny-voc", tmp_path / "tiny-voc")
    masks = sorted(data.rglob("SegmentationClass/*.png"))
    shutil.copy(masks[0], tmp_path / "first.png")
    for mask, following in zip(masks, [*masks[1:], tmp_path / "first.png"], strict=True):
        mask.write_bytes(following.read_bytes())
    again = repetition(made, tmp_path / "out", replace(HERE, data_root=str(tmp_path)))
    assert {"data", "test images or masks"} <= {check.part for check in again.checks if not check.good}
    assert "code" not in {check.part for check in again.checks if not check.good}
    _, found = again.run_again()
    assert not found[0].good


def test_what_is_other_now_is_named(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(request: RunRequest) -> object:
        plan = make_plan(request)
        other = replace(plan.settings, method_digest="0" * 64, switches={**plan.settings.switches, "alpha": 5.0})
        return replace(plan, settings=other)

    monkeypatch.setattr(module, "make_plan", changed)
    monkeypatch.setattr(module, "other_software", lambda _: ["torch: 1.0 / 2.0"])
    monkeypatch.setattr(module, "describe", lambda _: "cuda:0: a card")
    again = repetition(made, tmp_path, HERE)
    found = {check.part: check.words for check in again.checks if not check.good}
    assert found.keys() == {"code", "settings"}
    assert found["settings"] == "then / now: switches.alpha: 20.0 / 5.0"
    assert "then, 00000000 now (commit " in found["code"]
    assert again.notes[0] == "software, then / now: torch: 1.0 / 2.0"
    assert again.notes[1].endswith("threads then, cuda:0: a card now")


def test_a_damaged_record_is_said(made: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(made, tmp_path / "record")
    (copied / "evaluated.csv").write_text("")
    record = repetition(copied, tmp_path / "out", HERE).checks[0]
    assert record.words == "evaluated.csv: its SHA-256 is not that of the run's settings"


def test_the_threads_are_those_of_the_record(made: Path, tmp_path: Path) -> None:
    own = torch.get_num_threads()
    torch.set_num_threads(own + 1)
    try:
        folder, _ = repetition(made, tmp_path, HERE).run_again()
        assert torch.get_num_threads() == own + 1
    finally:
        torch.set_num_threads(own)
    assert read_run(folder).info.provenance.threads == read_run(made).info.provenance.threads == own


def test_files_are_looked_for_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was given relative paths, and is made again from another folder."""
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.chdir(first)
    tiny_request(first)
    folder = finish(tiny_request(first, dataset="tiny-voc.toml")).resolve()
    monkeypatch.chdir(tmp_path)
    assert all(verdict.good for verdict in repetition(folder, Path("out"), HERE).run_again()[1])


@pytest.mark.parametrize(
    ("spoil", "out", "told"),
    [
        (lambda folder: (folder / "checkpoint.pt").unlink(), "out", "only --retrain can make the run again"),
        (lambda folder: (folder / "run.json").unlink(), "out", "run.json"),
    ],
)
def test_what_cannot_be_made_again(
    made: Path, tmp_path: Path, spoil: Callable[[Path], None], out: str, told: str
) -> None:
    copied = shutil.copytree(made, tmp_path / "record")
    spoil(copied)
    with pytest.raises(UserError, match=told):
        repetition(copied, tmp_path / out, HERE)


def test_an_unfinished_record_and_its_own_folder(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the run is not done"):
        repetition(write_run(tmp_path, status="evaluating"), tmp_path / "out", HERE)
    with pytest.raises(UserError, match="is where the record itself lies"):
        repetition(made, made.parents[3], HERE, retrain=True)
