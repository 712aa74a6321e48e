"""INSID3's clusters against SciPy's average linkage and a merging of all mutual pairs at once, side by side in one run.

All read the same distances, on as many threads as are asked for (one by default), and must give the same partition.
Copying the distances, which each way spoils or reads as it likes, is not timed; computing them is a line of its own.

    python -m benchmarks.clusters --cells 4096 --repeats 5
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from benchmarks.machine import describe, spread
from fsseg_methods._clusters import Distances, average_linkage, cosine_distances

Labels = np.ndarray
CASES = {"30 groups": (30, 0.6), "30 groups and stragglers": (30, 0.9), "200 groups": (200, 0.7), "no group": (1, 3.0)}
"""Directions around which cells lie, and how far."""


@click.command()
@click.option("--cells", default=4096, show_default=True)
@click.option("--channels", default=384, show_default=True)
@click.option("--height", default=0.4, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(cells: int, channels: int, height: float, repeats: int, threads: int) -> None:
    """Print seconds of processor and wall time, and ratios to SciPy by medians of processor time."""
    torch.set_num_threads(threads)
    print(describe())
    print(f"{cells} cells of {channels} channels, cut at {height}, {repeats} repeats, {threads} threads")
    ways: dict[str, Callable[[Distances, Distances], Labels]] = {
        "scipy": lambda square, flat: fcluster(linkage(flat, "average"), np.nextafter(height, -np.inf), "distance"),
        "nearest-neighbour chain": lambda square, flat: average_linkage(square, height).labels,
        "mutual pairs at once": lambda square, flat: mutual_pairs(torch.from_numpy(square), height),
    }
    for name, (groups, noise) in CASES.items():
        given = drawn(cells, channels, groups, noise)
        begin = time.process_time()
        square = cosine_distances(given)
        took = time.process_time() - begin
        flat = squareform(square, checks=False)
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            found = []
            for way, cluster in ways.items():
                spoilt = square.copy()
                begin, clock = time.process_time(), time.perf_counter()
                labels = cluster(spoilt, flat)
                seconds[way].append((time.process_time() - begin, time.perf_counter() - clock))
                found.append(_in_order(labels))
            assert all(np.array_equal(found[0], other) for other in found[1:])
        print(f"{name}: {found[0].max() + 1} clusters; distances {took:.3f} s of the processor")
        first = float(np.median([processor for processor, _ in seconds["scipy"]]))
        for way, values in seconds.items():
            processor, wall = zip(*values, strict=True)
            print(f"  {way:24} processor {spread(list(processor))}  wall {spread(list(wall))}", end="")
            print(f"  {first / float(np.median(processor)):5.1f} x")


def drawn(cells: int, channels: int, groups: int, noise: float) -> Tensor:
    """(C, N) of unit length around directions of groups of very different sizes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(groups, channels, generator=generator) + 0.3 * torch.randn(channels, generator=generator)
    chosen = torch.multinomial(torch.rand(groups, generator=generator) ** 3, cells, True, generator=generator)
    made = centres[chosen] + noise * torch.randn(cells, channels, generator=generator)
    return F.normalize(made, dim=1).mT.contiguous()


def mutual_pairs(left: Tensor, height: float) -> Labels:
    """Merges all pairs that are each other's nearest, round after round: what the chain was chosen over."""
    total = len(left)
    absorbers, names = np.arange(total), torch.arange(total)
    sizes = torch.ones(total, dtype=left.dtype)
    while len(left) > 1:
        left.fill_diagonal_(torch.inf)
        nearest, places = left.min(dim=1)
        kept = nearest < height
        here = torch.arange(len(left))
        first = (kept & (places[places] == here) & (here < places)).nonzero().squeeze(1)
        if not len(first):
            break
        second = places[first]
        absorbers[names[second].numpy()] = names[first].numpy()
        mine, theirs = sizes[first], sizes[second]
        both = mine + theirs
        rows = (left[first] * mine[:, None] + left[second] * theirs[:, None]) / both[:, None]
        between = ((rows[:, first] * mine + rows[:, second] * theirs) / both).triu(1)
        left[first] = rows
        left[:, first] = rows.mT
        left[first[:, None], first] = between + between.mT
        sizes[first] = both
        kept[second] = False
        left, sizes, names = left[kept][:, kept], sizes[kept], names[kept]
    while not np.array_equal(further := absorbers[absorbers], absorbers):
        absorbers = further
    return absorbers


def _in_order(labels: Labels) -> Labels:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


if __name__ == "__main__":
    main()
