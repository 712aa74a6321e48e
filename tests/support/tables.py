"""Made-up episode tables for given classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fsseg_bench.protocol.table import EpisodeTable


def episode_table(classes: Sequence[Sequence[int]], *, images: int = 6, shots: int = 1, seed: int = 0) -> EpisodeTable:
    """Episodes of these ways whose query and supports are drawn from ``images`` images a class, without repetition."""
    rng = np.random.RandomState(seed)
    ways = tuple(tuple(int(c) for c in row) for row in classes)
    queries, supports = [], []
    for row in ways:
        drawn = {c: [f"{c}/{i}" for i in rng.permutation(images)[: shots + 1]] for c in row}
        queries.append(drawn[row[0]].pop())
        supports.append(tuple(tuple(drawn[c][:shots]) for c in row))
    return EpisodeTable(ways, tuple(queries), tuple(supports))
