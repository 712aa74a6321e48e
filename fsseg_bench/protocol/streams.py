"""Named streams of random numbers that are the same on every machine, in every process, for ever."""

from __future__ import annotations

import hashlib

import numpy as np

_SEPARATOR = "\x1f"


def seed_of(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on ``parts`` alone."""
    text = _SEPARATOR.join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def stream(*parts: str | int) -> np.random.RandomState:
    """numpy's frozen legacy generator, seeded from ``parts``.

    Its stream is guaranteed by numpy never to change. Draw with :func:`below` and :func:`distinct`, which use
    doubles only: ``randint``'s default integer type depends on the platform.
    """
    text = _SEPARATOR.join(map(str, parts)).encode()
    # little-endian on every machine: the table of episodes depends on these words
    return np.random.RandomState(np.frombuffer(hashlib.sha256(text).digest(), dtype="<u4").astype(np.uint32))


def below(rng: np.random.RandomState, n: int) -> int:
    """A uniform integer in [0, n)."""
    if n < 1:
        raise ValueError(f"nothing to draw from: n = {n}")
    return min(int(rng.random_sample() * n), n - 1)  # for a large n the product may round up to n


def distinct(rng: np.random.RandomState, n: int, k: int) -> list[int]:
    """``k`` different integers of [0, n), uniformly, in random order (a partial Fisher-Yates shuffle)."""
    if not 0 <= k <= n:
        raise ValueError(f"cannot draw {k} different values out of {n}")
    moved: dict[int, int] = {}
    drawn = []
    for i in range(k):
        j = i + below(rng, n - i)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn
