"""Timing of several ways to compute one thing, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks.machine import spread


def compare(ways: Mapping[str, Callable[[], object]], repeats: int) -> None:
    """Print each way's times, and its speed relative to the first by medians and by minima.

    The ways take turns, so that a busy moment of the machine meets all of them. The first turn is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    reference = next(iter(seconds.values()))
    for name, values in seconds.items():
        ratio = statistics.median(reference) / statistics.median(values)
        print(f"  {name:20} {spread(values)}  {ratio:6.1f} x (by minima {min(reference) / min(values):.1f} x)")
