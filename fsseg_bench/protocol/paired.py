"""Two methods on the same episodes: what is found out about them, whichever way it is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fsseg_bench.protocol.statistics import FoldCounts, Metric

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
    return np.array_equal(first.classes, second.classes) and list(first.novel) == list(second.novel)
