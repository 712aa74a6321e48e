"""Two records of one run: whether they count alike, and what the difference comes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np

from fsseg_bench.conventions import Int64
from fsseg_bench.engine.verify import Verdict
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.paired import Difference, paired_by_images
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import FoldCounts, Metric
from fsseg_bench.records.info import TRAIN_FILE
from fsseg_bench.records.read import EpisodeCounts, StoredRun

_NAMES: dict[Metric, str] = {"mean": "mean-IoU", "binary": "binary-IoU"}


def same_counts(then: StoredRun, now: StoredRun) -> list[Verdict]:
    """What two finished records of one run have in common: episodes, counts, scores, and losses if both trained."""
    first, second = then.counts(), now.counts()
    if then.settings.episode_digest != now.settings.episode_digest or first.classes.shape != second.classes.shape:
        return [Verdict("episodes", False, "others than then, so that nothing can be compared episode by episode")]
    return [_episodes(first, second), *_scores(then, first, second), *_losses(then, now)]


def _episodes(first: EpisodeCounts, second: EpisodeCounts) -> Verdict:
    """How many episodes have other counts, and how many pixels changed sides."""
    moved = {key: moved_pixels(getattr(first, key), getattr(second, key)) for key in get_args(Resolution)}
    other = np.any([pixels > 0 for pixels in moved.values()], axis=0)
    count = len(first.classes)
    if not other.any():
        return Verdict("episodes", True, f"all {count:,} have the same counts, at both sizes")
    parts = [f"{pixels.sum():,} of {getattr(first, key).sum():,} pixels at {key} size" for key, pixels in moved.items()]
    listed = ", ".join(map(str, np.flatnonzero(other)[:5].tolist()))
    more = ", ..." if other.sum() > 5 else ""
    return Verdict(
        "episodes",
        False,
        f"{other.sum():,} of {count:,} have other counts (numbers {listed}{more}): {' and '.join(parts)} changed sides",
    )


def moved_pixels(first: Int64, second: Int64) -> Int64:
    """(E,) pixels of each episode that at least must have been predicted otherwise, of counts (E, N+1, N+1)."""
    moved = np.abs(first - second).sum(axis=(1, 2)) // 2
    # a recount with other totals (a mask read otherwise) moves pixels into void and out of it
    totals = np.abs(first.sum(axis=(1, 2)) - second.sum(axis=(1, 2)))
    return np.asarray(np.maximum(moved, totals), np.int64)


def _scores(then: StoredRun, first: EpisodeCounts, second: EpisodeCounts) -> Iterator[Verdict]:
    """Both metrics at the size of the tables: then, now, and the paired difference with its interval."""
    resolution = then.settings.headline
    table = then.table()
    images = None if table is None else EpisodeImages.of(table)
    sides = [
        FoldCounts(getattr(counts, resolution), counts.classes, then.novel, images, then.runs)
        for counts in (first, second)
    ]
    if np.array_equal(sides[0].confusion, sides[1].confusion):
        yield Verdict("scores", True, f"the same at {resolution} size")
        return
    if images is None:
        yield Verdict("scores", False, "the record does not say which images its episodes have; see 'compare'")
        return
    try:
        result = paired_by_images([[sides[0]]], [[sides[1]]])
    except UserError as error:
        yield Verdict("scores", False, str(error))
        return
    for metric, name in _NAMES.items():
        yield Verdict(name, False, _words(result.scores[metric].overall))


def _words(found: Difference) -> str:
    percent = f"{100 * found.baseline:.3f} % then, {100 * found.other:.3f} % now: {100 * found.value:+.3f} points"
    if found.low is None or found.high is None:
        return f"{percent} (no interval: {found.unknown})"
    return f"{percent} ({100 * found.low:+.3f} to {100 * found.high:+.3f}, 95 % interval over images and episodes)"


def _losses(then: StoredRun, now: StoredRun) -> Iterator[Verdict]:
    """Where two trainings part."""
    logs = [
        {row["iteration"]: row["loss"] for row in run.lines(TRAIN_FILE)} if run.info.settings.iterations else {}
        for run in (then, now)
    ]
    common = sorted(logs[0].keys() & logs[1].keys())
    if not common:
        return
    other = next((i for i in common if logs[0][i] != logs[1][i]), None)
    if other is None:
        yield Verdict("training", True, f"the same loss in all {len(common):,} iterations")
    else:
        told = f"{logs[0][other]:.6g} then, {logs[1][other]:.6g} now"
        yield Verdict("training", False, f"other losses from iteration {other} of {len(common):,} on ({told})")
