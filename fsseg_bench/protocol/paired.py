"""Two methods on the same episodes: how far would other images and other episodes move the difference?

The difference of the two methods' influences is an influence like any other, so interval and standard error are those
of ``image_variance``. The p-value is that of the t test with the same standard error and degrees of freedom: it is
below 0.05 exactly where the 95 % interval leaves 0 out. ``paired_episodes`` takes the images as given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fsseg_bench.protocol.image_variance import NOTHING_VARIES, Effects, Estimate, estimates, image_effects
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.statistics import (
    FoldCounts,
    Influence,
    Metric,
    averaged,
    class_influence,
    difference,
    fold_influence,
    images_of,
    side_by_side,
)

ALIKE = "the two methods count alike in every episode"
"""Why two methods may have no interval of their difference."""
_METRICS: tuple[Metric, ...] = ("mean", "binary")
_WHOLE = len(_METRICS)  # scores of a whole fold; those of its classes follow

Replicas = Sequence[FoldCounts]
"""One fold's episodes as counted with each training seed; scores are averaged over the seeds."""


@dataclass(frozen=True)
class Difference:
    """One score of two methods, in [0, 1]; the difference is ``other - baseline``."""

    baseline: float
    other: float
    low: float | None
    """Lower end of the difference's interval; None where there is none, and ``unknown`` says why."""
    high: float | None
    """Upper end."""
    error: float | None
    """Standard error of the difference."""
    p: float | None
    """Two-sided p-value, not corrected for other comparisons."""
    lasting: float | None = None
    """The part of the standard error that stays with any number of episodes of these images; None where images are
    taken as given."""
    df: int | None = None
    """Degrees of freedom of the standard error; None: many."""
    unknown: str = ""
    """Why there is no interval."""

    @property
    def value(self) -> float:
        """``other - baseline``."""
        return self.other - self.baseline


@dataclass(frozen=True)
class PairedScores:
    """One metric's differences."""

    overall: Difference
    """Of the mean over the folds."""
    folds: tuple[Difference, ...]
    """In the order given."""


@dataclass(frozen=True)
class PairedResult:
    """All differences between two methods."""

    scores: Mapping[Metric, PairedScores]
    classes: tuple[Mapping[int, Difference], ...]
    """For each fold, IoU by held-out class."""


def check_pairs(baseline: Sequence[Replicas], other: Sequence[Replicas]) -> None:
    """Whether the two sides can be paired.

    Raises:
        ValueError: the folds, seeds or episodes of the two sides do not match, or there are none.
    """
    if not baseline:
        raise ValueError("0 folds; at least one is needed")
    same = len(baseline) == len(other) and all(
        len(first) == len(second) > 0 and all(_alike(first[0], replica) for replica in (*first, *second))
        for first, second in zip(baseline, other, strict=True)
    )
    if not same:
        raise ValueError("a paired comparison needs the same folds, seeds and episodes on both sides")


def _alike(first: FoldCounts, second: FoldCounts) -> bool:
    same = np.array_equal(first.classes, second.classes) and list(first.novel) == list(second.novel)
    return same and first.runs == second.runs


def paired_by_images(baseline: Sequence[Replicas], other: Sequence[Replicas], *, level: float = 0.95) -> PairedResult:
    """Differences per fold, per class and of the mean over folds, over images and episodes.

    Args:
        baseline: the folds of the method compared with; each fold once for each training seed, with its images.
        other: the same folds, number of seeds and episodes, in the same order.
        level: of the intervals.

    Raises:
        UserError: a class without an episode or without any pixel.
        ValueError: the folds, seeds or episodes of the two sides do not match, images are not known, or the level is
            outside (0, 1).
    """
    check_pairs(baseline, other)
    sides = [(_influence(a), _influence(b)) for a, b in zip(baseline, other, strict=True)]
    images = [images_of(fold[0]) for fold in baseline]
    effects = [image_effects(own, difference(a, b)) for own, (a, b) in zip(images, sides, strict=True)]
    every = [_differences([s], [i], [e], level) for s, i, e in zip(sides, images, effects, strict=True)]
    whole = _differences(sides, images, effects, level, slice(_WHOLE))
    return PairedResult(
        {m: PairedScores(whole[i], tuple(fold[i] for fold in every)) for i, m in enumerate(_METRICS)},
        tuple(dict(zip(side[0].novel, fold[_WHOLE:], strict=True)) for side, fold in zip(baseline, every, strict=True)),
    )


def overall_scores(sides: Sequence[Sequence[Replicas]], metric: Metric) -> list[Estimate]:
    """The mean over folds and trainings of each side, in [0, 1].

    Args:
        sides: of each its folds; each fold once for each training seed, with its images.
        metric: which score.

    Raises:
        UserError, ValueError: as :func:`paired_by_images`.
    """
    return [
        estimates([(images_of(fold[0]), image_effects(images_of(fold[0]), _one(fold, metric))) for fold in side])[0]
        for side in sides
    ]


def overall_differences(
    sides: Sequence[Sequence[Replicas]], pairs: Sequence[tuple[int, int]], metric: Metric, *, level: float = 0.95
) -> list[Difference]:
    """As the overall ones of :func:`paired_by_images`, of many pairs of sides at once.

    Args:
        sides: of each its folds, the same episodes in all; each fold once for each training seed, with its images.
            The numbers of training seeds may differ.
        pairs: positions of baseline and other among ``sides``.
        metric: which score.
        level: of the intervals.

    Raises:
        UserError, ValueError: as :func:`paired_by_images`.
    """
    if not pairs:
        return []
    for a, b in pairs:
        check_pairs([fold[:1] for fold in sides[a]], [fold[:1] for fold in sides[b]])
    influences = [[_one(fold, metric) for fold in side] for side in sides]
    images = [images_of(fold[0]) for fold in sides[pairs[0][0]]]
    moved = [
        side_by_side([difference(influences[a][f], influences[b][f]) for a, b in pairs]) for f in range(len(images))
    ]
    found = estimates([(own, image_effects(own, fold)) for own, fold in zip(images, moved, strict=True)])
    means = [float(np.mean([fold.value for fold in side])) for side in influences]
    return [_difference(means[a], means[b], own, level) for (a, b), own in zip(pairs, found, strict=True)]


def _one(replicas: Replicas, metric: Metric) -> Influence:
    return averaged([fold_influence(replica, metric) for replica in replicas])


def _influence(replicas: Replicas) -> Influence:
    """On mean-IoU, binary-IoU and each class's IoU."""
    return averaged([side_by_side([*(fold_influence(r, m) for m in _METRICS), class_influence(r)]) for r in replicas])


def _differences(
    sides: Sequence[tuple[Influence, Influence]],
    images: Sequence[EpisodeImages],
    effects: Sequence[Effects],
    level: float,
    part: slice = slice(None),
) -> list[Difference]:
    """Of the mean over the folds, one for each score of ``part``."""
    found = estimates([(own, effect.columns(part)) for own, effect in zip(images, effects, strict=True)])
    baseline, other = (
        np.mean([fold.value[part] for fold in folds], axis=0).tolist() for folds in zip(*sides, strict=True)
    )
    return [_difference(*numbers, level) for numbers in zip(baseline, other, found, strict=True)]


def _difference(baseline: float, other: float, found: Estimate, level: float) -> Difference:
    if found.unknown:
        alike = found.unknown == NOTHING_VARIES and abs(other - baseline) < 1e-12
        unknown = ALIKE if alike else found.unknown
        return Difference(baseline, other, None, None, None, 1.0 if alike else None, unknown=unknown)
    half, value = found.half_width(level), other - baseline
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return Difference(baseline, other, low, high, found.error, found.p(), found.lasting, found.df)
