"""What to make of several p-values, of a standard error, and of several training seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

_NORMAL = statistics.NormalDist()


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment: reject where the adjusted p-value is at most the family's error rate.

    The i-th smallest of m p-values becomes max over j <= i of (m - j + 1) p_(j), at most 1. The family-wise error
    holds whatever the dependence between the tests.

    Args:
        p_values: in [0, 1], in any order.

    Returns:
        The adjusted values in the order given.

    Raises:
        ValueError: a value outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values are between 0 and 1; found {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return tuple(adjusted)


def resolvable(error: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The true difference that a two-sided test finds with probability ``power``.

    It is (z_{(1+level)/2} + z_power) times the standard error, by the normal approximation.

    Args:
        error: standard error of the difference, at least 0; the result has its unit.
        level: one minus the test's error rate, in (0, 1).
        power: the probability, in (0, 1).
    """
    return (_NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(power)) * error


def episodes_needed(
    error: float, episodes: int, difference: float, *, level: float = 0.95, power: float = 0.8
) -> int | None:
    """How many episodes a fold it takes until ``difference`` is :func:`resolvable`.

    The squared standard error falls with the number of episodes, each class keeping its share:
    E = E_observed (resolvable / difference)^2, rounded up. More episodes narrow only what depends on the draw of
    episodes; the images stay those of the data set.

    Args:
        error: observed standard error of the difference.
        episodes: how many episodes a fold it was observed with.
        difference: to be found, in the unit of ``error``; its sign does not matter.
        level: as in :func:`resolvable`.
        power: as in :func:`resolvable`.

    Returns:
        The number, or None where nothing varied, which says nothing about other episodes.

    Raises:
        ValueError: a difference of 0.
    """
    if difference == 0:
        raise ValueError("no number of episodes resolves a difference of 0")
    if error == 0:
        return None
    return max(1, math.ceil(episodes * (resolvable(error, level=level, power=power) / difference) ** 2))


class SeedSpread(NamedTuple):
    """A score over several trainings. It says how much training again moves it, and nothing about episodes."""

    mean: float
    deviation: float | None
    """Standard deviation with n - 1; None for a single seed."""
    seeds: int


def seed_spread(scores: Sequence[float]) -> SeedSpread:
    """Mean and standard deviation of one score of each training seed.

    Raises:
        ValueError: no scores.
    """
    if not scores:
        raise ValueError("no scores; at least one is needed")
    deviation = statistics.stdev(scores) if len(scores) > 1 else None
    return SeedSpread(statistics.fmean(scores), deviation, len(scores))
