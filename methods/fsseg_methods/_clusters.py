"""Average-linkage clusters of feature cells (UPGMA), cut at a height, by a chain of nearest neighbours.

Two clusters that are each other's nearest may merge at once, whatever else is still apart: the mean distance of a union
to a third cluster is never below the smaller of the two (Bruynooghe's reducibility). So the tree that a greedy merging
builds comes out of one row of the distances a step, and what has no neighbour below the height never gets one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Distances = npt.NDArray[np.float64]
_BLOCK = 256  # rows whose distances are computed together


class Clusters(NamedTuple):
    """A partition of N cells."""

    labels: npt.NDArray[np.int64]
    """(N,): each cell's cluster, numbered by first appearance."""
    number: int
    """How many clusters there are."""
    heights: npt.NDArray[np.float64]
    """(N - number,), ascending: the distances of the merges."""


def cosine_distances(cells: Tensor) -> Distances:
    """1 - cosine of cells (C, N) of unit length on the host, as float32 rounds it: (N, N), exactly symmetric."""
    total = cells.shape[1]
    distances = torch.empty(total, total, dtype=torch.float64)
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        rows = (1 - (cells[:, start:stop].mT @ cells[:, start:]).clamp_(-1, 1)).double()
        distances[start:stop, start:] = rows
        distances[start:, start:stop] = rows.mT
        upper = rows[:, : stop - start].triu(1)  # a product need not be symmetric in its last bits
        distances[start:stop, start:stop] = upper + upper.mT
    return distances.numpy()


def average_linkage(distances: Distances, height: float) -> Clusters:
    """The clusters that are left when average linkage merges while the distance is strictly below ``height``.

    Args:
        distances: (N, N), exactly symmetric; it is spoilt.
        height: where the tree is cut; infinity builds all of it.
    """
    absorbers = np.arange(len(distances))  # by cell: the first cell of the cluster that took its own in, or itself
    names = absorbers.copy()  # by row: the first cell of its cluster
    sizes = np.ones(len(distances))
    barred = np.zeros(len(distances))  # by row: infinity where there is nothing to merge any more
    left, first = len(distances), 0
    chain: list[int] = []
    heights: list[float] = []
    np.fill_diagonal(distances, np.inf)
    while left:
        if 2 * left < len(distances):
            kept = np.flatnonzero(barred == 0)
            distances = distances[np.ix_(kept, kept)]
            names, sizes, barred, first = names[kept], sizes[kept], barred[kept], 0
            chain = np.searchsorted(kept, chain).tolist()
        if not chain:
            first += int((barred[first:] == 0).argmax())
            chain.append(first)
        here, before = chain[-1], chain[-2] if len(chain) > 1 else None
        row = distances[here] + barred
        there = int(row.argmin())
        if before is not None and row[before] <= row[there]:
            there = before  # of equal ones, so that the chain ends
        if not row[there] < height:
            barred[chain.pop()] = np.inf
            left -= 1
        elif there != before:
            chain.append(there)
        else:
            del chain[-2:]
            taker, taken = sorted((here, there))
            absorbers[names[taken]] = names[taker]
            heights.append(float(row[there]))
            mean = distances[taker] * sizes[taker] + distances[taken] * sizes[taken]
            sizes[taker] += sizes[taken]
            mean /= sizes[taker]
            mean[taker] = np.inf
            distances[taker] = distances[:, taker] = mean
            barred[taken] = np.inf  # its row and its column are not read again
            left -= 1
    return _numbered(absorbers, np.sort(heights))


def _numbered(absorbers: npt.NDArray[np.int64], heights: npt.NDArray[np.float64]) -> Clusters:
    """The partition, from a forest in which each cell names an earlier one of its cluster, or itself."""
    roots = absorbers
    while not np.array_equal(further := roots[roots], roots):
        roots = further
    names, labels = np.unique(roots, return_inverse=True)
    return Clusters(labels.astype(np.int64), len(names), heights)
