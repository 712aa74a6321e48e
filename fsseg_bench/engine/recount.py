"""Scores counted again from a record's counts, in whole numbers line by line; its predictions against its counts.

It shares no arithmetic with ``protocol/scoring.py``, which every table uses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fsseg_bench.protocol.spec import RESOLUTIONS
from fsseg_bench.records.predictions import prediction_labels
from fsseg_bench.records.read import EpisodeCounts, RecordError

Scores = dict[str, dict[str, float]]
"""By resolution and metric (``mean_iou``, ``binary_iou``), in [0, 1], as run.json holds them."""


def recounted(rows: Sequence[Mapping[str, Any]], novel: Sequence[int], ways: int, runs: int = 1) -> Scores:
    """Both metrics at both resolutions from the rows of an episode log; of several runs the mean of theirs.

    Raises:
        RecordError: a held-out class, the foreground or the background has no pixel.
    """
    every = [_of_run(rows[i * len(rows) // runs : (i + 1) * len(rows) // runs], novel, ways) for i in range(runs)]
    return {
        resolution: {metric: sum(scores[resolution][metric] for scores in every) / runs for metric in metrics}
        for resolution, metrics in every[0].items()
    }


def _of_run(rows: Iterable[Mapping[str, Any]], novel: Sequence[int], ways: int) -> Scores:
    classes: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    pooled: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        for resolution in RESOLUTIONS:
            _add(row["classes"], row[resolution], ways, resolution, classes, pooled)
    scores: Scores = {}
    for resolution in RESOLUTIONS:
        own = [_ratio(*classes[resolution, label]) for label in novel]
        both = [_ratio(*pooled[resolution, is_way]) for is_way in (True, False)]
        scores[resolution] = {"mean_iou": sum(own) / len(own), "binary_iou": sum(both) / 2}
    return scores


def _add(
    labels: Sequence[int],
    cells: Sequence[int],
    ways: int,
    resolution: str,
    classes: dict[tuple[str, int], list[int]],
    pooled: dict[tuple[str, bool], list[int]],
) -> None:
    """Adds an episode's intersections and unions; ``cells`` are row-major, rows are labels, 0 is background."""
    side = ways + 1
    for way, label in enumerate(labels, start=1):
        total = classes[resolution, label]
        total[0] += cells[way * side + way]
        total[1] += sum(cells[way * side : (way + 1) * side]) + sum(cells[way::side]) - cells[way * side + way]
    background = cells[0]
    wrong = sum(cells[1:side]) + sum(cells[side::side])  # background taken for a way, and ways for background
    right = sum(cells) - background - wrong
    for is_way, intersection in ((True, right), (False, background)):
        pooled[resolution, is_way][0] += intersection
        pooled[resolution, is_way][1] += intersection + wrong


def _ratio(intersection: int, union: int) -> float:
    if not union:
        raise RecordError("a held-out class, or the foreground or background, has no pixel in any episode")
    return intersection / union


def check_predictions(
    rows: Sequence[Mapping[str, Any]], counts: EpisodeCounts, ways: int, pixels: Sequence[int] | None = None
) -> None:
    """Whether predictions can be those that were counted, as far as can be told without the labels.

    Of background and of each way no more pixels were counted than are predicted; the others are void in the labels.
    ``pixels`` is how many each input has, void ones too, where that is known. A size that does not fit is refused
    before the prediction is unfolded, which takes memory.

    Raises:
        RecordError: they are not; names the episode.
    """
    if len(rows) != len(counts.input):
        raise RecordError(f"{len(rows)} episodes, of which {len(counts.input)} were counted")
    for episode, (row, cells) in enumerate(zip(rows, counts.input, strict=True)):
        size, counted = row.get("size"), int(cells.sum()) if pixels is None else pixels[episode]
        if type(size) is not int or size * size < counted or (pixels is not None and size * size != counted):
            raise RecordError(f"episode {episode}: its size {str(size)[:20]} does not fit {counted:,} counted pixels")
        predicted = np.bincount(prediction_labels(row, ways).ravel(), minlength=ways + 1)
        if row["episode"] != episode or (cells.sum(axis=0) > predicted).any():
            raise RecordError(f"episode {episode}: other pixels are predicted than were counted")
