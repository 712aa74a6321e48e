"""Arrays kept within a limit."""

from __future__ import annotations

import numpy as np
import pytest

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.kept import Kept

SIDE = 100


class Maker:
    """Makes maps of one value, and counts how often."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, value: int) -> UInt8:
        self.made.append(value)
        return np.full((SIDE, SIDE), value, np.uint8)


@pytest.mark.parametrize(
    ("limit", "made"),
    [
        (0, [0, 1, 2, 0, 1, 2]),
        (2 * SIDE**2 - 1, [0, 1, 2, 1, 2]),  # room for the first alone
        (2 * SIDE**2 + 1000, [0, 1, 2, 2]),  # the first two stay, however often a third comes
        (10 * SIDE**2, [0, 1, 2]),
    ],
)
def test_what_fits_is_made_once(limit: int, made: list[int]) -> None:
    kept, maker = Kept(limit), Maker()
    for value in (0, 1, 2, 0, 1, 2):
        assert (kept.get(value, lambda value=value: maker(value)) == value).all()
        assert kept.used <= limit
    assert maker.made == made


def test_a_view_keeps_nothing_else_alive() -> None:
    kept = Kept(10**6)
    large = np.zeros((10, SIDE, SIDE), np.uint8)
    kept.get("one", lambda: large[3])
    found = kept.get("one", lambda: large[4])
    assert found.base is None
    assert found.shape == (SIDE, SIDE)
