"""Two methods on the same episodes, with the images taken as given: how far would other episodes of them move it?

Interval: the percentile bootstrap of ``intervals``, where both methods see the same resampled episodes.

p-value: approximate randomisation. Were the two methods exchangeable, each episode's pair of counts could as well be
swapped. Every resample swaps each episode with probability 1/2 and computes the difference anew; p is the share of
resamples, the observed one included, whose difference is at least as large in size. The swaps need no strata: a swap
never moves an episode to another class or fold, so every resample has the classes and folds of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.paired import Difference, PairedResult, PairedScores, Replicas, check_pairs
from fsseg_bench.protocol.statistics import (
    FoldCounts,
    Metric,
    episode_terms,
    mean_of_present,
    percentile_interval,
    ratios,
    resampled_sums,
)
from fsseg_bench.protocol.streams import stream

NOTHING_VARIES = "nothing varies between the episodes, which says nothing about other episodes"
"""Why there may be no interval."""
_TIE = 1e-12  # differences of resamples that are equal in exact arithmetic may differ by rounding
_CELLS = 2_000_000  # swaps drawn at a time: 16 MB


class _Draws(NamedTuple):
    """Scores of the baseline and the other: as observed, and in every resample of the two kinds."""

    observed: Float64
    """(2, ...)."""
    resampled: Float64
    """(R, 2, ...), of the bootstrap."""
    swapped: Float64
    """(R, 2, ...), of the randomisation."""


def paired_by_episodes(
    baseline: Sequence[Replicas],
    other: Sequence[Replicas],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedResult:
    """Differences per fold, per class and of the mean over folds, all from one set of resamples.

    Args:
        baseline: the folds of the method compared with; each fold once for each training seed.
        other: the same folds, number of seeds and episodes, in the same order.
        resamples: of the bootstrap and of the randomisation; no p-value is below 1 / (resamples + 1).
        level: of the intervals.
        seed: the same seed gives the same result on every machine.

    Raises:
        UserError: a class without an episode or without any pixel.
        ValueError: the folds, seeds or episodes of the two sides do not match, or an argument is out of range.
    """
    if resamples < 1:
        raise ValueError(f"{resamples} resamples; at least one is needed")
    check_pairs(baseline, other)
    draws = [_fold_draws(a, b, resamples, seed, i) for i, (a, b) in enumerate(zip(baseline, other, strict=True))]
    novels = [side[0].novel for side in baseline]
    means = [_mean_scores(draw, slice(len(novel))) for draw, novel in zip(draws, novels, strict=True)]
    pooled = [_mean_scores(draw, slice(len(novel), None)) for draw, novel in zip(draws, novels, strict=True)]
    return PairedResult(
        {"mean": _paired_scores(means, level), "binary": _paired_scores(pooled, level)},
        tuple(
            {c: _difference(_Draws(*(array[..., k] for array in draw)), level) for k, c in enumerate(novel)}
            for draw, novel in zip(draws, novels, strict=True)
        ),
    )


def _fold_draws(baseline: Replicas, other: Replicas, resamples: int, seed: int, fold: int) -> _Draws:
    """IoUs of one fold, averaged over seeds; the last axis is the held-out classes, foreground, background."""
    terms = np.stack([_terms(baseline), _terms(other)], axis=1)
    strata = baseline[0].strata
    return _Draws(
        _ious(terms.sum(axis=0)),
        _ious(resampled_sums(terms, strata, resamples, stream("bootstrap", seed, fold))),
        _ious(_swapped_sums(terms, resamples, stream("swap", seed, fold))),
    )


def _terms(replicas: Replicas) -> Int64:
    """(E, S, R, M+2, 2) intersection and union: seeds, runs, then classes, foreground, background."""
    metrics: tuple[Metric, ...] = ("mean", "binary")

    def of_runs(fold: FoldCounts) -> Int64:
        parts = [episode_terms(fold, metric) for metric in metrics]
        return np.concatenate([part.reshape(len(part), fold.runs, -1, 2) for part in parts], axis=2)

    return np.stack([of_runs(replica) for replica in replicas], axis=1)


def _ious(sums: Int64 | Float64) -> Float64:
    """(..., M+2) from sums (..., S, R, M+2, 2): IoU, then the mean over the R runs and the S seeds."""
    return mean_of_present(mean_of_present(ratios(sums.astype(np.float64)), axis=-2), axis=-2)


def _swapped_sums(terms: Int64, resamples: int, rng: np.random.RandomState) -> Float64:
    """(resamples, 2, ...): ``terms`` (E, 2, ...) summed over the episodes after random swaps along axis 1.

    Exact, as in :func:`fsseg_bench.protocol.statistics.resampled_sums`.
    """
    episodes = len(terms)
    flat = terms.reshape(episodes, 2, -1).astype(np.float64)
    first, second = flat.sum(axis=0)
    change = flat[:, 1] - flat[:, 0]
    sums = np.empty((resamples, 2, len(first)))
    step = max(1, _CELLS // episodes)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        swaps = rng.random_sample((part.stop - start, episodes)) < 0.5
        moved = swaps.astype(np.float64) @ change
        sums[part, 0], sums[part, 1] = first + moved, second - moved
    return sums.reshape(resamples, *terms.shape[1:])


def _mean_scores(draws: _Draws, part: slice) -> _Draws:
    """The mean over ``part`` of the last axis."""
    return _Draws(*(mean_of_present(array[..., part], axis=-1) for array in draws))


def _paired_scores(folds: Sequence[_Draws], level: float) -> PairedScores:
    overall = _Draws(*(sum(arrays) / len(folds) for arrays in zip(*folds, strict=True)))
    return PairedScores(_difference(overall, level), tuple(_difference(fold, level) for fold in folds))


def _difference(draws: _Draws, level: float) -> Difference:
    """From draws of one score: observed (2,), resampled and swapped (R, 2)."""
    baseline, other = map(float, draws.observed)
    resampled, swapped = (array[:, 1] - array[:, 0] for array in (draws.resampled, draws.swapped))
    # A resample without a score counts as extreme: it must not make p smaller.
    extreme = np.count_nonzero(~(np.abs(swapped) < abs(other - baseline) - _TIE))
    p = (1 + int(extreme)) / (1 + len(swapped))
    low, high, half = percentile_interval(resampled, level)
    if half < _TIE or len(resampled) < 2:
        return Difference(baseline, other, None, None, None, p, unknown=NOTHING_VARIES)
    return Difference(baseline, other, low, high, float(np.nanstd(resampled, ddof=1)), p)
