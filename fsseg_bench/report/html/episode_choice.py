"""Which episodes the page shows: by rule, from the recorded counts of all methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import Float64, Int64


class Choice(NamedTuple):
    """An episode worth showing."""

    reason: str
    """By which rule it was chosen."""
    fold: int
    episode: int
    """Its number in the fold's table."""
    ious: tuple[float, ...]
    """Foreground IoU of each method, percent."""


def choose(ious: Mapping[int, Float64]) -> list[Choice]:
    """The best, the median and the worst episode of all methods together, and where two of them differ most.

    Episodes of all folds are ranked together by the mean of the methods' foreground IoU; of equal ones the first
    counts. An episode that several rules choose appears once, with all of them.

    Args:
        ious: fold to foreground IoU (M, E) in [0, 1] of M methods in its E episodes.
    """
    places, every, order = _ranked(ious)
    rules = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    if len(every) > 1:
        rules["largest disagreement"] = np.argmax(every.max(axis=0) - every.min(axis=0))
    reasons: dict[int, list[str]] = {}
    for rule, place in rules.items():
        reasons.setdefault(int(place), []).append(rule)
    return [_choice("; ".join(own), place, places, every) for place, own in reasons.items()]


def further(ious: Mapping[int, Float64], count: int) -> list[Choice]:
    """Up to ``count`` other episodes at evenly spaced ranks, worst first; arguments as :func:`choose`."""
    places, every, order = _ranked(ious)
    shown = {(choice.fold, choice.episode) for choice in choose(ious)}
    ranks = np.unique(np.linspace(0, len(order) - 1, count + 2).round().astype(int))[1:-1]
    return [
        _choice(f"rank {rank + 1:,} of {len(order):,}, worst first", int(order[rank]), places, every)
        for rank in ranks.tolist()
        if places[order[rank]] not in shown
    ]


def _ranked(ious: Mapping[int, Float64]) -> tuple[list[tuple[int, int]], Float64, Int64]:
    """Fold and episode of each place, the IoU (M, P) at each, and the places by rank."""
    places = [(fold, episode) for fold, own in ious.items() for episode in range(own.shape[1])]
    every = np.concatenate(list(ious.values()), axis=1)
    return places, every, np.argsort(every.mean(axis=0), kind="stable")


def _choice(reason: str, place: int, places: list[tuple[int, int]], every: Float64) -> Choice:
    return Choice(reason, *places[place], tuple(100 * float(value) for value in every[:, place]))
