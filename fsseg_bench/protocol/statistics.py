"""What every interval is made from: counted folds, the terms of their scores, resampled episodes, and influences.

An episode belongs to the stratum of its first way, the query's class. A resample draws as many episodes of
each stratum as there are, with replacement, so that every class keeps its number of episodes.

An influence says how much each episode moves a score, to first order: what every variance without resampling is made
of. A score is a mean of ratios R = sum of intersections / sum of unions over a fold's episodes. The influence of
episode e on such a ratio is (I_e - R U_e) / sum of U; influences add up to 0. Differences and means of scores have the
differences and means of their influences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.scoring import (
    binary_iou,
    binary_terms,
    boundary_terms,
    check_defined,
    positions,
    runs_of,
    summed,
    way_terms,
)

Metric = Literal["mean", "binary", "boundary"]
METRICS: tuple[Metric, ...] = ("mean", "binary")
"""Those that every run has; boundary-IoU is of protocols with ``scoring.boundary``."""
IntervalKind = Literal["images", "episodes"]
"""What an interval is over: other images and episodes, or other episodes of the same images alone."""


class Interval(NamedTuple):
    """A confidence interval, in the unit of the score."""

    low: float
    high: float
    half: float
    """Half the width before the ends were cut off at the ends of the scale: what stands behind a ±."""


@dataclass(frozen=True, eq=False)
class FoldCounts:
    """The counted pixels of one fold's episodes."""

    confusion: npt.ArrayLike
    """(E, N+1, N+1) integers: rows are labels, columns predictions, void left out."""
    classes: npt.ArrayLike
    """(E, N) label values of the ways."""
    novel: Sequence[int]
    """The fold's held-out classes."""
    images: EpisodeImages | None = None
    """The images of the episodes; None where they are not known."""
    runs: int = 1
    """The episodes are so many runs of equal length, one behind the other; a score is the mean of the runs' scores."""
    boundary: npt.ArrayLike | None = None
    """(E, N, 3) integers, see :func:`fsseg_bench.protocol.scoring.boundary_iou`; None where none were counted."""

    @property
    def run_numbers(self) -> Int64:
        """(E,) the run of each episode, from 0.

        Raises:
            ValueError: the runs are not of equal length.
        """
        episodes = len(np.asarray(self.classes))
        parts = runs_of(episodes, self.runs)
        return np.repeat(np.arange(self.runs, dtype=np.int64), parts[0].stop)

    @property
    def strata(self) -> Int64:
        """(E,) what a resample draws within: the class of the query, in each run."""
        first = np.asarray(self.classes, np.int64)[:, 0]
        return first if self.runs == 1 else first + self.run_numbers * (1 + first.max())

    @property
    def places(self) -> npt.NDArray[np.intp]:
        """(E, N) where each way's class stands among the R C classes of all runs, run by run.

        Raises:
            ValueError: as :attr:`run_numbers` and :func:`fsseg_bench.protocol.scoring.positions`.
        """
        found = positions(self.classes, self.novel)
        return found if self.runs == 1 else found + self.run_numbers[:, None] * len(self.novel)

    def way_terms(self, metric: Metric) -> Int64:
        """tp, fp and fn of each way of each episode, int64 (3, E, N), of ``"mean"`` or of ``"boundary"``.

        Raises:
            ValueError: another metric, no bands, or as ``scoring``.
        """
        if metric == "mean":
            return way_terms(self.confusion, self.classes)
        if metric != "boundary" or self.boundary is None:
            raise ValueError(
                f"unknown metric {metric!r}; use 'mean', 'binary' or, where outlines are counted, 'boundary'"
            )
        return boundary_terms(self.boundary, self.classes)


def percentile_interval(scores: Float64, level: float) -> Interval:
    """The middle share ``level`` of resampled scores (R,); NaNs are left out.

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), float(high - low) / 2)


def episode_terms(fold: FoldCounts, metric: Metric) -> Int64:
    """(E, M, 2): intersection and union that each episode adds to each of the M things averaged.

    They are the held-out classes in the order of ``fold.novel``, or foreground and background for ``"binary"``; of
    several runs those of each, run by run.

    Raises:
        UserError: a class without an episode, or without any pixel.
        ValueError: an unknown metric, or as ``scoring``.
    """
    if metric == "binary":
        binary_iou(fold.confusion, fold.runs)
        return _of_runs(binary_terms(fold.confusion), fold)
    tp, fp, fn = fold.way_terms(metric)
    things = len(fold.novel) * fold.runs
    where = (np.arange(len(tp))[:, None] * things + fold.places).ravel()
    terms = np.zeros((len(tp), things, 2), np.int64)
    flat = terms.reshape(-1, 2)  # in one dimension numpy adds many times as fast
    np.add.at(flat[:, 0], where, tp.ravel())
    np.add.at(flat[:, 1], where, (tp + fp + fn).ravel())
    _check_defined(terms[..., 1].sum(axis=0), fold)
    return terms


def _of_runs(terms: Int64, fold: FoldCounts) -> Int64:
    """(E, R M, 2) from (E, M, 2): an episode adds to its own run alone."""
    if fold.runs == 1:
        return terms
    episodes, things, _ = terms.shape
    spread = np.zeros((episodes, fold.runs, things, 2), np.int64)
    spread[np.arange(episodes), fold.run_numbers] = terms
    return spread.reshape(episodes, -1, 2)


def _check_defined(union: Int64, fold: FoldCounts) -> None:
    """Whether each class has a score in each run."""
    classes = np.asarray(fold.classes)
    for part, own in zip(runs_of(len(classes), fold.runs), union.reshape(fold.runs, -1), strict=True):
        check_defined(own, classes[part], fold.novel)


def resampled_sums(terms: Int64, strata: Int64, resamples: int, rng: np.random.RandomState) -> Float64:
    """(resamples, ...): ``terms`` (E, ...) summed over episodes drawn with replacement within each stratum.

    ``strata`` (E,) says which stratum an episode belongs to; each keeps its number of episodes. Sums of integers
    below 2**53 are exact in float64, so the result does not depend on the order of addition.
    """
    flat = terms.reshape(len(terms), -1).astype(np.float64)
    sums = np.zeros((resamples, flat.shape[1]))
    for stratum in np.unique(strata):
        rows = flat[strata == stratum]
        n = len(rows)
        drawn = (rng.random_sample((resamples, n)) * n).astype(np.intp)  # the largest double below 1 stays below n
        cells = drawn + np.arange(resamples)[:, None] * n
        weights = np.bincount(cells.ravel(), minlength=resamples * n).reshape(resamples, n)
        used = rows.any(axis=0)  # with one way, the episodes of a stratum have pixels of its class alone
        sums[:, used] += weights.astype(np.float64) @ rows[:, used]
    return sums.reshape(resamples, *terms.shape[1:])


def ratios(sums: Float64) -> Float64:
    """(...) intersection / union of sums (..., 2); NaN where the union is empty."""
    intersection, union = sums[..., 0], sums[..., 1]
    return np.asarray(np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0))


def mean_of_present(values: Float64, axis: int) -> Float64:
    """The mean over ``axis`` of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0).sum(axis=axis) / there.sum(axis=axis))


@dataclass(frozen=True, eq=False)
class Influence:
    """T scores of one fold of E episodes."""

    value: Float64
    """(T,) the scores, in [0, 1]; differences of scores in [-1, 1]."""
    change: Float64
    """(E, T) the influence of each episode."""
    mass: Float64
    """(E, T) the share of each episode in the pixels (of the unions) that a score rests on; adds up to 1."""


def fold_influence(fold: FoldCounts, metric: Metric) -> Influence:
    """Of the fold's mean-IoU, binary-IoU or boundary-IoU: T = 1.

    Raises:
        UserError, ValueError: as :func:`fsseg_bench.protocol.statistics.episode_terms`.
    """
    if metric == "binary":
        of_things = _of_ratios(fold, metric)
        return Influence(*(part.mean(axis=-1, keepdims=True) for part in vars(of_things).values()))
    # by way and not by class: an episode has pixels of its own classes alone
    terms, where, things = fold.way_terms(metric), fold.places, len(fold.novel) * fold.runs
    counts = summed(terms, where, things)
    total = counts.tp + counts.fp + counts.fn
    _check_defined(total, fold)
    intersection, union = terms[0], np.add.reduce(terms)
    value, pixels = counts.tp / total, total[where] * things
    change = (intersection - value[where] * union) / pixels
    return Influence(value.mean(keepdims=True), _over_ways(change), _over_ways(union / pixels))


def class_influence(fold: FoldCounts) -> Influence:
    """Of the IoU of each held-out class, in the order of ``fold.novel``.

    Raises:
        UserError, ValueError: as :func:`fsseg_bench.protocol.statistics.episode_terms`.
    """
    of_runs = _of_ratios(fold, "mean")
    things = len(fold.novel)
    return Influence(*(part.reshape(*part.shape[:-1], -1, things).mean(axis=-2) for part in vars(of_runs).values()))


def side_by_side(parts: Sequence[Influence]) -> Influence:
    """Several scores of the same episodes."""
    return Influence(*(np.concatenate(arrays, axis=-1) for arrays in _fields(parts)))


def averaged(parts: Sequence[Influence]) -> Influence:
    """The mean of the same scores of several trainings, counted over the same episodes."""
    return Influence(*(np.mean(arrays, axis=0) for arrays in _fields(parts)))


def difference(baseline: Influence, other: Influence) -> Influence:
    """``other - baseline``, over the same episodes."""
    return Influence(other.value - baseline.value, other.change - baseline.change, (other.mass + baseline.mass) / 2)


def images_of(fold: FoldCounts) -> EpisodeImages:
    """The images of a fold's episodes.

    Raises:
        ValueError: they are not known.
    """
    if fold.images is None:
        raise ValueError("the images of the episodes are not known")
    return fold.images


def _over_ways(values: Float64) -> Float64:
    """(E, 1) the sums of (E, N)."""
    return np.asarray(np.add.reduce(values, axis=1, keepdims=True))


def _of_ratios(fold: FoldCounts, metric: Metric) -> Influence:
    """One score for each ratio: a held-out class, or foreground and background; of each run."""
    terms = episode_terms(fold, metric).astype(np.float64)
    intersection, union = terms[..., 0], terms[..., 1]
    pixels = union.sum(axis=0)
    value = intersection.sum(axis=0) / pixels
    return Influence(value, (intersection - value * union) / pixels, union / pixels)


def _fields(parts: Sequence[Influence]) -> list[tuple[Float64, ...]]:
    return [tuple(getattr(part, name) for part in parts) for name in ("value", "change", "mass")]
