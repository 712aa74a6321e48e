"""What is known of each two of several methods on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from fsseg_bench.protocol.paired import Difference, overall_differences
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.significance import holm
from fsseg_bench.protocol.statistics import FoldCounts, Metric
from fsseg_bench.report.compare import Adjusted

_ALL_PAIRS = 12  # sides; of more, only the best is paired with all and each with the next
_MOST_BY_EPISODES = 6
_RESAMPLES = 2_000  # where intervals are over episodes alone: a fraction of a second a pair
_Side = Sequence[Sequence[FoldCounts]]
"""Folds, then training seeds."""


class Pair(NamedTuple):
    """What is known of two entrants."""

    better: int
    """Its place in the order."""
    other: int
    found: Adjusted
    """The better one minus the other, in [0, 1]; p is corrected for all pairs of the contest."""

    @property
    def state(self) -> Literal["shown", "corrected", "open"]:
        """Whether the difference is shown: ``corrected`` is not, after the correction for the other pairs."""
        difference = self.found.difference
        if difference.low is None or difference.low <= 0 <= (difference.high or 0):
            return "open"
        return "shown" if self.found.p_holm is not None and self.found.p_holm < 0.05 else "corrected"


def compared(sides: int, *, over_images: bool) -> int:
    """How many of the first sides are compared; resampling of episodes takes its time."""
    return sides if over_images else min(sides, _MOST_BY_EPISODES)


def all_pairs(sides: Sequence[_Side], metric: Metric, *, over_images: bool) -> Mapping[tuple[int, int], Pair]:
    """By places among ``sides``, which are in their order, what is known of two, the better one first.

    Where there are many, only the best is paired with all, and each with the next; p-values are corrected for all pairs
    even so. Sides with different numbers of training seeds can be paired over images alone.
    """
    count = compared(len(sides), over_images=over_images)
    wanted = [
        (a, b)
        for a, b in combinations(range(count), 2)
        if (over_images and count <= _ALL_PAIRS) or a == 0 or b == a + 1
    ]
    if over_images:
        found = overall_differences(sides, [(b, a) for a, b in wanted], metric)
    else:
        wanted = [(a, b) for a, b in wanted if len(sides[a][0]) == len(sides[b][0])]
        found = [_by_episodes(sides[b], sides[a], metric) for a, b in wanted]
    known = [difference.p for difference in found if difference.p is not None]
    adjusted = iter(holm([*known, *[1.0] * (count * (count - 1) // 2 - len(known))]))
    return {
        (a, b): Pair(a, b, Adjusted(difference, None if difference.p is None else next(adjusted)))
        for (a, b), difference in zip(wanted, found, strict=True)
    }


def _by_episodes(baseline: _Side, other: _Side, metric: Metric) -> Difference:
    return paired_by_episodes(baseline, other, resamples=_RESAMPLES, seed=0).scores[metric].overall
