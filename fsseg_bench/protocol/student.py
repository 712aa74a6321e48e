"""Student's t distribution: quantiles and two-sided p-values, with nothing but ``math``."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_CLOSE = 1e-15
_STEPS = 500


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
    t = NormalDist().inv_cdf(probability)
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
