"""What the best of n checkpoints scores on the classes by which it is chosen, compared with one that nobody chose."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def expected_best(scores: Sequence[float]) -> list[float]:
    """The mean of the best of n, over all choices of n of the S ``scores``, for n = 1 to S: exact.

    The score at place i (1 the lowest) is the best of n in C(i - 1, n - 1) of the C(S, n) choices.
    """
    ordered, size = sorted(scores), len(scores)
    return [sum(comb(i, n - 1) * score for i, score in enumerate(ordered)) / comb(size, n) for n in range(1, size + 1)]
