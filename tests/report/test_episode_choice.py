"""Which episodes the page shows, by hand."""

from __future__ import annotations

import numpy as np

from fsseg_bench.report.episode_choice import choose, further


def ious(*rows: list[int]) -> np.ndarray:
    return np.asarray(rows, float) / 100


def test_rules_by_hand() -> None:
    """Means by episode: fold 1: 20, 55, 55; fold 2: 30, 80. In order 20 30 55 55 80."""
    found = choose({1: ious([10, 50, 90], [30, 60, 20]), 2: ious([30, 70], [30, 90])})
    assert [(c.reason, c.fold, c.episode) for c in found] == [
        ("best", 2, 1),
        ("median", 1, 1),
        ("worst", 1, 0),
        ("largest disagreement", 1, 2),
    ]
    assert np.allclose(found[0].ious, (70, 90))


def test_one_episode_for_several_rules_appears_once() -> None:
    found = choose({1: ious([50, 10], [50, 70])})
    assert [(c.reason, c.episode) for c in found] == [("best; median", 0), ("worst; largest disagreement", 1)]


def test_one_method_disagrees_with_nobody() -> None:
    found = choose({1: ious([50, 10, 30])})
    assert [(c.reason, c.episode) for c in found] == [("best", 0), ("median", 2), ("worst", 1)]


def test_further_ranks_are_evenly_spaced_and_new() -> None:
    by_rank = {1: ious(list(range(101)))}
    assert [(c.episode, c.reason) for c in further(by_rank, 3)] == [
        (25, "rank 26 of 101, worst first"),
        (75, "rank 76 of 101, worst first"),  # 50 is the median, which is shown already
    ]
    assert further({1: ious([1, 2])}, 8) == []
