"""What ``verify`` finds in a record: nothing in a good one, and each thing that was changed in a copy of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsseg_bench.engine.checkpoint import load_state, save_state
from fsseg_bench.engine.verify import verify
from fsseg_bench.engine.verify_again import EpisodesAgain
from fsseg_bench.records.info import read_info
from fsseg_bench.records.owner import Owner, note_owner
from fsseg_bench.records.read import RecordError, StoredRun, read_run
from fsseg_bench.records.run import RunRecord
from fsseg_bench.report.recorded import DataPlaces, RecordedEpisodes
from tests.support.fresh import ROOT
from tests.support.runs import TWO_EPISODES, edit_info, request, row, settings, write_run, write_training
from tests.support.tiny_run import finish, tiny_request, tiny_training


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("verified")
    return finish(tiny_request(folder, iterations=2, settings=tiny_training(), panels=1))


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(made, tmp_path / "record")


def wrong(folder: Path, masks: Callable[[StoredRun], str] | None = None) -> dict[str, str]:
    """What is wrong, by part."""
    return {
        verdict.part: verdict.words
        for verdict in verify(folder, {"masks": masks} if masks else None)
        if not verdict.good
    }


def test_a_good_record(made: Path) -> None:
    found = {verdict.part: verdict.words for verdict in verify(made, {"masks": RecordedEpisodes().recount})}
    assert wrong(made) == {}
    panels = {f"panels/{path.name}" for path in (made / "panels").iterdir()}
    assert found.keys() == panels | {
        *("run.json", "episodes.csv", "evaluated.csv", "episodes.jsonl", "predictions.jsonl", "train.jsonl"),
        *("checkpoint.pt", "scores", "protocol", "masks"),
    }
    stated = read_info(made / "run.json").scores["input"]
    assert f"mean-IoU {100 * (stated['mean_iou'] or 0):.2f} %" in found["scores"]
    assert "give the recorded counts at the input size" in found["masks"]


def test_episodes_are_drawn_and_predicted_again(made: Path, copied: Path) -> None:
    looks = {"draw": RecordedEpisodes().drawn, "again": EpisodesAgain(2, seed=0)}
    found = {verdict.part: verdict for verdict in verify(made, looks)}
    assert all(found[part].good and found[part].done for part in looks), found
    assert "predicted again with the recorded counts" in found["again"].words
    assert "episodes, those that the protocol draws from the data in" in found["draw"].words
    (copied / "checkpoint.pt").unlink()
    found = {verdict.part: verdict for verdict in verify(copied, looks)}
    assert (found["again"].good, found["again"].done) == (True, False)
    assert "its checkpoint.pt is not here" in found["again"].words
    run = read_run(made)
    counts = run.counts()
    run.__dict__["counts"] = lambda: counts._replace(classes=counts.classes + 1)
    for look in looks.values():
        with pytest.raises(RecordError, match="its lines have other classes than the episodes"):
            look(run)
    run.__dict__["settings"] = replace(run.settings, episode_digest="0" * 64)
    with pytest.raises(RecordError, match="the protocol draws other episodes from the data in"):
        RecordedEpisodes().drawn(run)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:-1]))

    return change


def flipped(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return change


def written(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def piped(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def of_another_run(folder: Path) -> None:
    state = load_state(folder / "checkpoint.pt")
    save_state(folder / "checkpoint.pt", replace(state, run="0" * 64))


def other_scores(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    document["scores"]["native"]["mean_iou"] += 1e-6
    edit_info(folder, scores=document["scores"])


def other_losses(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    edit_info(folder, training=document["training"] | {"loss": 0.01})


@pytest.mark.parametrize(
    ("change", "part", "told"),
    [
        (replaced("run.json", '"seed": 0', '"seed": 1'), "run.json", "edited"),
        (replaced("episodes.jsonl", '"input":[', '"input":[1'), "episodes.jsonl", "line 1: its check does not fit"),
        (cut("episodes.jsonl"), "episodes.jsonl", "changed since the run was done"),
        (cut("predictions.jsonl"), "predictions.jsonl", "changed since the run was done"),
        (replaced("predictions.jsonl", '"size":64', '"size":65'), "predictions.jsonl", "its check does not fit"),
        (cut("train.jsonl"), "train.jsonl", "changed since the run was done"),
        (cut("episodes.csv"), "episodes.csv", "not the episodes of the run"),
        (cut("evaluated.csv"), "evaluated.csv", "its SHA-256 is not that of the run's settings"),
        (flipped("checkpoint.pt"), "checkpoint.pt", "its SHA-256 is not the one that it states"),
        (written("checkpoint.pt", b""), "checkpoint.pt", "not a checkpoint that this run wrote"),
        (written("checkpoint.pt", b"a text"), "checkpoint.pt", "not a checkpoint that this run wrote"),
        (of_another_run, "checkpoint.pt", "written by another run"),
        (piped("episodes.jsonl"), "episodes.jsonl", "not a regular file"),
        (piped("predictions.jsonl"), "predictions.jsonl", "not a regular file"),
        (piped("evaluated.csv"), "evaluated.csv", "not a regular file"),
        (piped("checkpoint.pt"), "checkpoint.pt", "not a regular file"),
        (flipped("panels/panels.json"), "panels/panels.json", "changed since the run was done"),
        (lambda folder: (folder / "train.jsonl").unlink(), "train.jsonl", "is missing; the run's settings say"),
        (lambda folder: (folder / "evaluated.csv").unlink(), "evaluated.csv", "No such file"),
        (other_scores, "scores", "run.json says"),
        (other_losses, "train.jsonl", "its last losses are not those in run.json"),
    ],
)
def test_what_was_changed_is_named(copied: Path, change: Callable[[Path], None], part: str, told: str) -> None:
    change(copied)
    assert told in wrong(copied)[part]


def test_counts_forged_with_all_their_checks_differ_from_the_predictions(copied: Path) -> None:
    """Whoever writes the whole record anew cannot hide it from the masks."""
    info, lines = read_info(copied / "run.json"), (copied / "episodes.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for one in rows:
        one.pop("check")
        one["input"][3] += one["input"][2]  # what was missed is found
        one["input"][2] = 0
    (copied / "episodes.jsonl").unlink()
    unlocked = SimpleNamespace(check=lambda: None)  # nobody else writes there
    record = RunRecord(copied, info, unlocked)  # type: ignore[arg-type]
    with record.episode_log() as log:
        for one in rows:
            log.append(one)
    sha256 = hashlib.sha256((copied / "episodes.jsonl").read_bytes()).hexdigest()
    edit_info(copied, episodes={"count": len(rows), "sha256": sha256}, scores={})
    found = wrong(copied, RecordedEpisodes().recount)
    assert found.keys() == {"predictions.jsonl", "masks"}
    again = {verdict.part: verdict for verdict in verify(copied, {"again": EpisodesAgain(1_000)})}["again"]
    assert not again.good
    assert "comes out otherwise: at least" in again.words
    assert "other pixels are predicted than were counted" in found["predictions.jsonl"]
    assert "give other counts than recorded" in found["masks"]


def test_masks_that_were_changed_are_not_those_of_the_run(made: Path, tmp_path: Path) -> None:
    data = shutil.copytree(made.parents[4] / "tiny-voc", tmp_path / "tiny-voc")
    for mask in data.rglob("SegmentationClass/*.png"):
        mask.write_bytes(mask.read_bytes() + b" ")
    found = wrong(made, RecordedEpisodes(DataPlaces(str(tmp_path))).recount)
    assert found["masks"].startswith(f"{data}/")
    assert "not the image, or not the mask, that" in found["masks"]


def test_a_record_without_its_checkpoint_is_no_other_one(copied: Path) -> None:
    (copied / "checkpoint.pt").unlink()
    assert wrong(copied) == {}


@pytest.mark.parametrize(
    ("name", "good"), [("predictions.jsonl", True), ("train.jsonl", False), ("episodes.csv", False)]
)
def test_what_its_pack_left_out_is_no_fault_if_packs_leave_it_out(copied: Path, name: str, good: bool) -> None:
    (copied / name).unlink()
    note_owner(copied, Owner(left_out=(name,)))
    edit_info(copied, files=json.loads((copied / "run.json").read_text())["files"] | {name: "0" * 64})
    found = {verdict.part: verdict for verdict in verify(copied, {"masks": RecordedEpisodes().recount})}
    assert (found[name].good, found[name].done) == (good, not good)
    if name == "predictions.jsonl":
        assert (found["masks"].good, found["masks"].done) == (True, False)
        assert "was left out of the pack" in found["masks"].words


def test_a_run_of_a_checkpoint_has_no_training_of_its_own(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe={}, checkpoint_digest="c" * 64)
    assert wrong(folder) == {}
    assert wrong(write_run(tmp_path, recipe={"iterations": 0})) == {}


def test_an_unfinished_record(tmp_path: Path) -> None:
    folder = write_run(tmp_path, status="evaluating")
    found = {verdict.part: verdict for verdict in verify(folder)}
    assert found["episodes.jsonl"].words == "2 episodes so far, each with its check"
    assert "scores" not in found
    assert all(verdict.good for verdict in found.values())


def test_records_without_episode_tables(tmp_path: Path) -> None:
    with RunRecord.create(tmp_path, settings(), request(), folds=4) as record:
        with record.episode_log() as log:
            for i, episode in enumerate(TWO_EPISODES):
                log.append(row(i, episode))
        record.update(status="done")
    found = {verdict.part: verdict for verdict in verify(write_training(record.folder))}
    assert wrong(record.folder) == {}
    assert not found["episodes.csv"].done  # which is said


@pytest.mark.parametrize("folder", sorted(path.parent for path in (ROOT / "tests/fixtures/schema1").rglob("run.json")))
def test_records_of_version_0_1_0(folder: Path) -> None:
    assert wrong(folder) == {}
