"""The expected best of n checkpoints, against all choices one by one and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fsseg_bench.protocol.checkpoint_choice import expected_best


def test_by_hand() -> None:
    """Of 40, 60 and 70: the pairs' best are 60, 70 and 70."""
    assert expected_best([60, 40, 70]) == pytest.approx([170 / 3, 200 / 3, 70])
    assert expected_best([12.5]) == [12.5]


@pytest.mark.parametrize("size", [2, 5, 9])
def test_against_all_choices(size: int) -> None:
    scores = np.random.default_rng(size).integers(0, 5, size).astype(float).tolist()  # some are equal
    every = [np.mean([max(chosen) for chosen in combinations(scores, n)]) for n in range(1, size + 1)]
    assert expected_best(scores) == pytest.approx(every)
