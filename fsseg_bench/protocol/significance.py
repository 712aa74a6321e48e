"""What to make of several p-values, of a standard error, and of several training seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from fsseg_bench.protocol.student import t_quantile

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


def resolvable(error: float, *, df: int | None = None, level: float = 0.95, power: float = 0.8) -> float:
    """The true difference that a two-sided test finds with probability ``power``.

    It is (q_{(1+level)/2} + q_power) times the standard error, with the quantiles q of Student's t.

    Args:
        error: standard error of the difference, at least 0; the result has its unit.
        df: degrees of freedom of the error; None: so many that the quantiles are the normal ones.
        level: one minus the test's error rate, in (0, 1).
        power: the probability, in (0, 1).
    """
    quantile = _NORMAL.inv_cdf if df is None else lambda probability: t_quantile(probability, df)
    return (quantile((1 + level) / 2) + quantile(power)) * error


def episodes_needed(
    error: float,
    episodes: int,
    difference: float,
    *,
    lasting: float = 0.0,
    df: int | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> int | None:
    """How many episodes a fold of the same images it takes until ``difference`` is :func:`resolvable`.

    The squared standard error is the sum of a part that stays with the images and one that falls with the number of
    episodes, each class keeping its share: E = E_observed (error^2 - lasting^2) / ((difference / q)^2 - lasting^2),
    rounded up, where q is the sum of quantiles in :func:`resolvable`.

    Args:
        error: observed standard error of the difference.
        episodes: how many episodes a fold it was observed with.
        difference: to be found, in the unit of ``error``; its sign does not matter.
        lasting: the part of the error that stays with any number of episodes; 0 where images are taken as given.
        df: as in :func:`resolvable`.
        level: as in :func:`resolvable`.
        power: as in :func:`resolvable`.

    Returns:
        The number, or None where no number of episodes suffices.

    Raises:
        ValueError: a difference of 0.
    """
    if difference == 0:
        raise ValueError("no number of episodes resolves a difference of 0")
    room = (difference / resolvable(1.0, df=df, level=level, power=power)) ** 2 - lasting**2
    if room <= 0:
        return None
    return max(1, math.ceil(episodes * (error**2 - lasting**2) / room))


def images_needed(
    error: float,
    images: float,
    difference: float,
    *,
    df: int | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """How many images a class, with as many episodes of each as now, until ``difference`` is :func:`resolvable`.

    The squared standard error falls with the number of images: n = n_observed (q error / difference)^2, rounded up.

    Args:
        error: observed standard error of the difference over images and episodes.
        images: of a class, that it was observed with.
        difference: as in :func:`episodes_needed`.
        df: as in :func:`resolvable`.
        level: as in :func:`resolvable`.
        power: as in :func:`resolvable`.

    Raises:
        ValueError: a difference of 0.
    """
    if difference == 0:
        raise ValueError("no number of images resolves a difference of 0")
    return max(2, math.ceil(images * (resolvable(error, df=df, level=level, power=power) / difference) ** 2))


class SeedSpread(NamedTuple):
    """A score over several trainings: how much training again moves it, and nothing about images or episodes."""

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
