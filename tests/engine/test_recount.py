"""Scores counted again: against a recount of pixels with sets, and against what tables compute."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from fsseg_bench.engine.recount import check_predictions, recounted
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.records.counts import EpisodeCounts
from fsseg_bench.records.predictions import counted, prediction_row
from fsseg_bench.records.read import RecordError
from tests.support.runs import row

NOVEL = (3, 5, 8)


def _drawn(ways: int, episodes: int = 30) -> tuple[list[Any], list[Any], list[list[int]]]:
    """Predictions, labels (void among them) and classes at random."""
    rng = np.random.default_rng(ways)
    predictions = [rng.integers(0, ways + 1, (9, 9)).astype(np.uint8) for _ in range(episodes)]
    labels = [rng.choice([*range(ways + 1), 255], (9, 9)).astype(np.uint8) for _ in range(episodes)]
    return predictions, labels, [rng.permutation(NOVEL)[:ways].tolist() for _ in range(episodes)]


def _by_sets(predictions: list[Any], labels: list[Any], classes: list[list[int]]) -> tuple[float, float]:
    """Mean and binary IoU from sets of pixels."""
    places = [
        (episode, y, x) for episode in range(len(labels)) for y in range(9) for x in range(9)
        if labels[episode][y, x] != 255
    ]  # fmt: skip

    def of(maps: list[Any], place: tuple[int, int, int]) -> int | None:
        value = int(maps[place[0]][place[1:]])
        return classes[place[0]][value - 1] if value else None

    def iou(wanted: Any) -> float:
        said = {place for place in places if wanted(of(predictions, place))}
        true = {place for place in places if wanted(of(labels, place))}
        return len(said & true) / len(said | true)

    mean = sum(iou(lambda c, own=label: c == own) for label in NOVEL) / len(NOVEL)
    return mean, (iou(lambda c: c is not None) + iou(lambda c: c is None)) / 2


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_scores_are_those_of_the_pixels(ways: int) -> None:
    predictions, labels, classes = _drawn(ways)
    cells = [counted(p, t, ways) for p, t in zip(predictions, labels, strict=True)]
    rows = [row(i, (classes[i], cells[i].flatten().tolist())) for i in range(len(cells))]
    scores = recounted(rows, NOVEL, ways)
    mean, binary = _by_sets(predictions, labels, classes)
    for found in scores.values():
        assert found == pytest.approx({"mean_iou": mean, "binary_iou": binary}, rel=1e-12)
    assert scores["input"]["mean_iou"] == pytest.approx(mean_iou(np.array(cells), classes, NOVEL), rel=1e-12)
    assert scores["input"]["binary_iou"] == pytest.approx(binary_iou(np.array(cells)), rel=1e-12)


def test_several_runs_are_averaged() -> None:
    """By hand: IoU 20 / 40 and 9 / 18 in the first run, 1 and 10 / 40 in the second."""
    cells = [(60, 10, 10, 20), (80, 4, 5, 9), (70, 0, 0, 30), (60, 20, 10, 10)]
    rows = [row(i, ((3 + 2 * (i % 2),), own)) for i, own in enumerate(cells)]
    scores = recounted(rows, (3, 5), 1, 2)["native"]
    assert scores["mean_iou"] == pytest.approx(((0.5 + 0.5) / 2 + (1 + 0.25) / 2) / 2)
    first, second = (29 / 58 + 140 / 169) / 2, (40 / 70 + 130 / 160) / 2
    assert scores["binary_iou"] == pytest.approx((first + second) / 2)


def test_a_class_without_a_pixel_has_no_score() -> None:
    with pytest.raises(RecordError, match="has no pixel in any episode"):
        recounted([row(0, ((3,), (60, 10, 10, 20)))], (3, 5), 1)


def test_predictions_against_counts_without_labels() -> None:
    predictions, labels, classes = _drawn(2, 3)
    cells = np.array([counted(p, t, 2) for p, t in zip(predictions, labels, strict=True)])
    counts = EpisodeCounts(np.array(classes), cells, cells)
    rows = [prediction_row(i, own, 2) for i, own in enumerate(predictions)]
    check_predictions(rows, counts, 2)
    with pytest.raises(RecordError, match="2 episodes, of which 3 were counted"):
        check_predictions(rows[:2], counts, 2)
    with pytest.raises(RecordError, match="episode 0: other pixels are predicted"):
        check_predictions(rows[::-1], counts, 2)
    cells[1, 0, 2] += 81
    with pytest.raises(RecordError, match="episode 1: its size 9 does not fit"):
        check_predictions(rows, counts, 2)
    with pytest.raises(RecordError, match="episode 0: the run lengths of way 1"):
        check_predictions([{**rows[0], "size": 10}, *rows[1:]], counts, 2)


@pytest.mark.parametrize(
    ("size", "pixels", "told"),
    [
        (10, [81, 81, 81], "its size 10 does not fit 81 counted pixels"),
        (4, None, "its size 4 does not fit"),
        (2**16, None, "'size' must be"),  # gigabytes, were it unfolded
        ("9", None, "its size 9 does not fit"),
        (9, [81, 81, 81], None),
    ],
)
def test_a_size_is_compared_before_a_prediction_is_unfolded(size: Any, pixels: list[int] | None, told: str) -> None:
    predictions, labels, classes = _drawn(2, 3)
    cells = np.array([counted(p, t, 2) for p, t in zip(predictions, labels, strict=True)])
    rows = [prediction_row(i, own, 2) | {"size": size} for i, own in enumerate(predictions)]
    with pytest.raises(RecordError, match=f"episode 0: {told}") if told else nullcontext():
        check_predictions(rows, EpisodeCounts(np.array(classes), cells, cells), 2, pixels)
