"""Stored predictions: read back by COCO's own reader, refused where they are damaged, kept in step with the counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from fsseg_bench.engine.counts import confusion
from fsseg_bench.errors import UserError
from fsseg_bench.records.predictions import (
    EpisodeLogs,
    counted,
    prediction_inspector,
    prediction_row,
    row_labels,
    stored_predictions,
)
from fsseg_bench.records.read import RecordError, read_run
from fsseg_bench.records.run import RunRecord
from tests.support.runs import TWO_EPISODES, request, row, settings

SIZE = 9


def labels(seed: int, ways: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, ways + 1, (size, size)).astype(np.uint8)


@pytest.mark.parametrize("ways", [1, 3])
def test_rows_hold_what_cocos_tools_read(ways: int):
    smooth = np.repeat(np.repeat(labels(5, ways, 4), 50, axis=0), 60, axis=1)[:180, :180]
    for drawn in (labels(1, ways), smooth, np.zeros((7, 7), np.uint8), np.full((7, 7), ways, np.uint8)):
        stored = json.loads(json.dumps(prediction_row(3, drawn, ways)))
        size = len(drawn)
        for way, text in enumerate(stored["ways"], start=1):
            read = coco_mask.decode({"size": [size, size], "counts": text.encode()})
            assert np.array_equal(read, drawn == way)
        found = row_labels(stored, ways)
        assert found.dtype == np.uint8
        assert np.array_equal(found, drawn)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ways": ["0" * 50]}, "not those of 9 x 9 pixels"),
        ({"ways": ["", ""]}, "for 1 ways"),
        ({"ways": [""]}, "not those of"),
        ({"ways": ["P"]}, "break off"),
        ({"ways": ["P" * 40]}, "no run lengths"),
        ({"ways": ["\u00e9"]}, "no run lengths"),
        ({"ways": ["1O@f2"]}, "not those of"),  # a negative length
        ({"ways": [7]}, "for 1 ways"),
        ({"size": 0}, "'size' must"),
        ({"size": 2**40}, "'size' must"),
        ({"size": 9.0}, "'size' must"),
        ({"more": 1}, "its keys are"),
    ],
)
def test_what_is_no_prediction_is_refused(change: dict, told: str):
    with pytest.raises(ValueError, match=told):
        row_labels(prediction_row(0, labels(0, 1), 1) | change, 1)


def test_ways_that_overlap_are_refused():
    one, two = prediction_row(0, labels(0, 1), 1)["ways"], prediction_row(0, labels(0, 1), 1)["ways"]
    with pytest.raises(ValueError, match="way 2 has pixels of another way"):
        row_labels({"episode": 0, "size": SIZE, "ways": [*one, *two]}, 2)


@pytest.mark.parametrize("ways", [1, 2])
def test_counts_equal_the_engines(ways: int):
    predicted, truth = labels(1, ways), labels(2, ways)
    truth[0, :4] = 255
    expected = confusion(torch.from_numpy(predicted)[None], torch.from_numpy(truth)[None], ways)[0].numpy()
    assert np.array_equal(counted(predicted, truth, ways), expected)
    with pytest.raises(ValueError, match="above"):
        counted(predicted + ways, truth, ways)


def opened(root: Path) -> RunRecord:
    return RunRecord.create(root, settings(), request(), folds=4)


def logs(record: RunRecord) -> EpisodeLogs:
    return EpisodeLogs(record, lambda _, __: None, prediction_inspector(1, SIZE))


def written(root: Path, episodes: int) -> Path:
    """A run of so many episodes, not yet done."""
    with opened(root) as record, logs(record) as both:
        for i in range(episodes):
            both.append(row(i, TWO_EPISODES[i % 2]), prediction_row(i, labels(i, 1), 1))
    return record.folder


def cut(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


@pytest.mark.parametrize(
    ("counts", "predictions", "kept", "told"),
    [
        (4, 5, 4, []),  # killed between the two
        (5, 3, 3, ["predictions.jsonl: ends 2 episodes before episodes.jsonl"]),
        (5, 0, 0, ["predictions.jsonl: ends 5 episodes before episodes.jsonl"]),
        (0, 5, 0, []),
    ],
)
def test_logs_of_different_lengths_go_on_from_what_both_have(
    tmp_path: Path, counts: int, predictions: int, kept: int, told: list[str]
):
    folder = written(tmp_path, 5)
    whole = {name: (folder / name).read_bytes() for name in ("episodes.jsonl", "predictions.jsonl")}
    cut(folder / "episodes.jsonl", counts)
    cut(folder / "predictions.jsonl", predictions)
    with opened(tmp_path) as record, logs(record) as both:
        assert (both.rows, both.damage) == (kept, told)
        for i in range(kept, 5):
            both.append(row(i, TWO_EPISODES[i % 2]), prediction_row(i, labels(i, 1), 1))
    assert {name: (folder / name).read_bytes() for name in whole} == whole


def test_a_damaged_prediction_is_made_again(tmp_path: Path):
    folder = written(tmp_path, 5)
    path = folder / "predictions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"episode":3', b'"episode":4'))
    with opened(tmp_path) as record, logs(record) as both:
        assert both.rows == 3
        assert len(both.damage) == 1
        assert both.damage[0].startswith("predictions.jsonl: row 3 is damaged (its check does not fit")
    assert len((folder / "episodes.jsonl").read_bytes().splitlines()) == 3


def test_predictions_for_another_size_are_made_again(tmp_path: Path):
    with opened(tmp_path) as record, record.prediction_log() as log:
        log.append(prediction_row(0, labels(0, 1, SIZE + 1), 1))
    with opened(tmp_path) as record, logs(record) as both:
        assert (both.rows, both.damage) == (
            0,
            ["predictions.jsonl: row 0 is damaged (its input has 10 pixels a side; the run's has 9)"],
        )


def test_finished_runs_give_single_episodes_and_seal_them(tmp_path: Path):
    folder = written(tmp_path, 2)
    with opened(tmp_path) as record:
        record.update(status="done")
    run = read_run(folder)
    found = stored_predictions(run, [1, 0])
    assert found is not None
    assert all(np.array_equal(found[i], labels(i, 1)) for i in (0, 1))
    with pytest.raises(RecordError, match="episode 7 cannot be read"):
        stored_predictions(run, [7])
    path = folder / "predictions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"size":9', b'"size":8'))
    with pytest.raises(RecordError, match=r"predictions\.jsonl: changed since the run was done"):
        stored_predictions(run, [0])
    path.unlink()
    with pytest.raises(RecordError, match="is missing since the run was done"):
        stored_predictions(run, [0])


def test_records_of_earlier_versions_keep_none(tmp_path: Path):
    with opened(tmp_path) as record:
        with record.episode_log() as log:
            for i, episode in enumerate(TWO_EPISODES):
                log.append(row(i, episode))
        record.update(status="done")
    assert stored_predictions(read_run(record.folder), [0]) is None


def test_a_full_disk_keeps_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = written(tmp_path, 2)
    with opened(tmp_path) as record, logs(record) as both:
        monkeypatch.setattr("fsseg_bench.records.lines.write_all", _full)
        with pytest.raises(UserError, match=r"predictions\.jsonl"):
            both.append(row(2, TWO_EPISODES[0]), prediction_row(2, labels(2, 1), 1))
        monkeypatch.undo()
    with opened(tmp_path) as record, logs(record) as both:
        assert (both.rows, both.damage) == (2, [])
    assert folder == record.folder


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
