"""Which episodes are shown: by rule, from the recorded counts of all methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, SupportsInt

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


class Episodes(NamedTuple):
    """The episodes of all folds together."""

    places: list[tuple[int, int]]
    """Fold and episode of each."""
    ious: Float64
    """(M, P) foreground IoU of M methods in each, in [0, 1]."""

    @classmethod
    def of(cls, ious: Mapping[int, Float64]) -> Episodes:
        """From the IoU (M, E) of each fold."""
        places = [(fold, episode) for fold, own in ious.items() for episode in range(own.shape[1])]
        return cls(places, np.concatenate(list(ious.values()), axis=1))

    @staticmethod
    def ranked(scores: Float64) -> Int64:
        """The places from the lowest of ``scores`` (P,) to the highest; of equal ones the first comes first."""
        return np.argsort(scores, kind="stable")

    def by_rules(self, rules: Mapping[str, SupportsInt]) -> list[Choice]:
        """The episode at the place that each rule names; one that several name appears once, with all of them."""
        reasons: dict[int, list[str]] = {}
        for rule, place in rules.items():
            reasons.setdefault(int(place), []).append(rule)
        return [self.choice("; ".join(own), place) for place, own in reasons.items()]

    def choice(self, reason: str, place: int) -> Choice:
        """The episode at a place."""
        return Choice(reason, *self.places[place], tuple(100 * float(value) for value in self.ious[:, place]))


def choose(ious: Mapping[int, Float64]) -> list[Choice]:
    """The best, the median and the worst episode of all methods together, and where two of them differ most.

    Episodes of all folds are ranked together by the mean of the methods' foreground IoU; of equal ones the first
    counts. An episode that several rules choose appears once, with all of them.

    Args:
        ious: fold to foreground IoU (M, E) in [0, 1] of M methods in its E episodes.
    """
    episodes = Episodes.of(ious)
    order = episodes.ranked(episodes.ious.mean(axis=0))
    rules = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    if len(episodes.ious) > 1:
        rules["largest disagreement"] = np.argmax(episodes.ious.max(axis=0) - episodes.ious.min(axis=0))
    return episodes.by_rules(rules)


def further(ious: Mapping[int, Float64], count: int) -> list[Choice]:
    """Up to ``count`` other episodes at evenly spaced ranks, worst first; arguments as :func:`choose`."""
    episodes = Episodes.of(ious)
    order = episodes.ranked(episodes.ious.mean(axis=0))
    shown = {(choice.fold, choice.episode) for choice in choose(ious)}
    ranks = np.unique(np.linspace(0, len(order) - 1, count + 2).round().astype(int))[1:-1]
    return [
        episodes.choice(f"rank {rank + 1:,} of {len(order):,}, worst first", int(order[rank]))
        for rank in ranks.tolist()
        if episodes.places[order[rank]] not in shown
    ]
