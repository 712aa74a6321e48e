"""The percentile bootstrap over episodes, one score or one difference at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fsseg_bench.protocol.intervals import Score, bootstrap_intervals
from fsseg_bench.protocol.scoring import Float64
from fsseg_bench.protocol.statistics import (
    FoldCounts,
    Interval,
    Metric,
    episode_terms,
    mean_of_present,
    percentile_interval,
    ratios,
    resampled_sums,
)
from fsseg_bench.protocol.streams import stream


def bootstrap_interval(folds: Sequence[FoldCounts], metric: Metric, **options: Any) -> Interval:
    """The interval of one score alone."""
    (interval,) = bootstrap_intervals([Score(folds, metric)], **options)
    return interval


def difference_interval(
    first: Sequence[FoldCounts],
    second: Sequence[FoldCounts],
    metric: Metric,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Of the first score minus the second: equal seeds and equal classes draw equal episodes on both sides."""
    a, b = (_scores(side, metric, resamples, seed) for side in (first, second))
    return percentile_interval(a - b, level)


def _scores(folds: Sequence[FoldCounts], metric: Metric, resamples: int, seed: int) -> Float64:
    """(resamples,) mean over ``folds`` of the resampled scores."""
    totals = np.zeros(resamples)
    for i, fold in enumerate(folds):
        terms = episode_terms(fold, metric)
        sums = resampled_sums(terms, np.asarray(fold.classes)[:, 0], resamples, stream("bootstrap", seed, i))
        totals += mean_of_present(ratios(sums), axis=1)
    return np.asarray(totals / len(folds))
