"""How much each episode moves a score, to first order: what every variance without resampling is made of.

A score is a mean of ratios R = sum of intersections / sum of unions over a fold's episodes. The influence of episode e
on such a ratio is (I_e - R U_e) / sum of U; influences add up to 0. Differences and means of scores have the
differences and means of their influences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsseg_bench.conventions import Float64
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.statistics import FoldCounts, Metric, episode_terms


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
    """Of the fold's mean-IoU or binary-IoU: T = 1.

    Raises:
        UserError, ValueError: as :func:`fsseg_bench.protocol.statistics.episode_terms`.
    """
    of_things = _of_ratios(fold, metric)
    return Influence(*(part.mean(axis=-1, keepdims=True) for part in vars(of_things).values()))


def class_influence(fold: FoldCounts) -> Influence:
    """Of the IoU of each held-out class, in the order of ``fold.novel``.

    Raises:
        UserError, ValueError: as :func:`fsseg_bench.protocol.statistics.episode_terms`.
    """
    return _of_ratios(fold, "mean")


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


def _of_ratios(fold: FoldCounts, metric: Metric) -> Influence:
    """One score for each ratio: a held-out class, or foreground and background."""
    terms = episode_terms(fold, metric).astype(np.float64)
    intersection, union = terms[..., 0], terms[..., 1]
    pixels = union.sum(axis=0)
    value = intersection.sum(axis=0) / pixels
    return Influence(value, (intersection - value * union) / pixels, union / pixels)


def _fields(parts: Sequence[Influence]) -> list[tuple[Float64, ...]]:
    return [tuple(getattr(part, name) for part in parts) for name in ("value", "change", "mass")]
