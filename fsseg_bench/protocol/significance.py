"""What to make of several p-values, of a standard error, and of several training seeds; Student's t distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

_NORMAL = statistics.NormalDist()
_TINY = 1e-300
_CLOSE = 1e-15
_STEPS = 500


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


@dataclass(frozen=True)
class Detection:
    """A two-sided test that finds a true difference with probability ``power``."""

    df: int | None = None
    """Degrees of freedom of the standard error; None: so many that the quantiles are the normal ones."""
    level: float = 0.95
    """One minus the test's error rate, in (0, 1)."""
    power: float = 0.8
    """In (0, 1)."""

    def resolvable(self, error: float) -> float:
        """The true difference that is found, in the unit of the standard error ``error``, which is at least 0.

        It is (q_{(1+level)/2} + q_power) times the standard error, with the quantiles q of Student's t.
        """
        df = self.df
        quantile = _NORMAL.inv_cdf if df is None else lambda probability: t_quantile(probability, df)
        return (quantile((1 + self.level) / 2) + quantile(self.power)) * error

    def episodes_needed(self, error: float, episodes: int, difference: float, lasting: float = 0.0) -> int | None:
        """How many episodes a fold of the same images it takes until ``difference`` is :meth:`resolvable`.

        The squared standard error is the sum of a part that stays with the images and one that falls with the number of
        episodes, each class keeping its share: E = E_observed (error^2 - lasting^2) / ((difference / q)^2 - lasting^2),
        rounded up, where q is the sum of quantiles in :meth:`resolvable`.

        Args:
            error: observed standard error of the difference.
            episodes: how many episodes a fold it was observed with.
            difference: to be found, in the unit of ``error``; its sign does not matter.
            lasting: the part of the error that stays with any number of episodes; 0 where images are taken as given.

        Returns:
            The number, or None where no number of episodes suffices.

        Raises:
            ValueError: a difference of 0.
        """
        if difference == 0:
            raise ValueError("no number of episodes resolves a difference of 0")
        room = (difference / self.resolvable(1.0)) ** 2 - lasting**2
        return None if room <= 0 else max(1, math.ceil(episodes * (error**2 - lasting**2) / room))

    def images_needed(self, error: float, images: float, difference: float) -> int:
        """How many images a class, with as many episodes of each as now, until ``difference`` is :meth:`resolvable`.

        The squared standard error, here over images and episodes, falls with the number of images, of which ``images``
        a class were observed: n = n_observed (q error / difference)^2, rounded up.

        Raises:
            ValueError: a difference of 0.
        """
        if difference == 0:
            raise ValueError("no number of images resolves a difference of 0")
        return max(2, math.ceil(images * (self.resolvable(error) / difference) ** 2))


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


def two_sided_p(t: float, df: float) -> float:
    """The probability that a t variable is at least as far from 0 as ``t``; also far out in the tails.

    Args:
        t: any number, infinity included.
        df: degrees of freedom, above 0.

    Raises:
        ValueError: no positive degrees of freedom, or ``t`` is NaN.
    """
    if not df > 0 or math.isnan(t):
        raise ValueError(f"t is {t} with {df} degrees of freedom; it must be a number, with more than 0")
    if math.isinf(t * t):
        return 0.0
    return _beta_ratio(df / (df + t * t), t * t / (df + t * t), df / 2, 0.5)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, df: int) -> float:
    """Where the distribution function with ``df`` degrees of freedom is ``probability``.

    Args:
        probability: in (0, 1).
        df: degrees of freedom, at least 1.

    Raises:
        ValueError: an argument out of range.
    """
    if not 0 < probability < 1 or df < 1:
        raise ValueError(f"no quantile {probability} with {df} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, df)
    tails = 2 * (1 - probability)
    # The tails are convex in t > 0 and the normal quantile is too small: Newton's steps only ever go up to the root.
    t = _NORMAL.inv_cdf(probability)
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    for _ in range(_STEPS):
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        step = (two_sided_p(t, df) - tails) / (2 * density)
        t += step
        if abs(step) <= 1e-13 * max(1.0, t):
            break
    return t


def _beta_ratio(x: float, rest: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); ``rest`` is 1 - x, without its rounding."""
    if x <= 0 or rest <= 0:
        return float(x > 0)
    scale = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):  # where the fraction converges fast; elsewhere by symmetry
        return scale * _fraction(x, a, b) / a
    return 1 - scale * _fraction(rest, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), by Lentz's method."""
    numerator, denominator = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _nonzero(1 + term * denominator)
            numerator = _nonzero(1 + term / numerator)
            value *= denominator * numerator
        if abs(denominator * numerator - 1) < _CLOSE:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
