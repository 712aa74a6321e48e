"""Schedules by hand, and parameter groups."""

from __future__ import annotations

import pytest

from fsseg_bench.engine.optimise import rate
from fsseg_bench.recipe import Recipe


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0: 0.1, 99: 0.1}),
        ({"schedule": "step", "milestones": (10, 20)}, {0: 0.1, 9: 0.1, 10: 0.01, 19: 0.01, 20: 0.001}),
        ({"schedule": "poly"}, {0: 0.1, 50: 0.1 * 0.5**0.9, 99: 0.1 * 0.01**0.9}),
        ({"warmup": 4}, {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.1}),
    ],
)
def test_rates_by_hand(changes: dict, expected: dict) -> None:
    recipe = Recipe(iterations=100, batch=1, lr=0.1, **changes)
    assert {i: rate(recipe, i) for i in expected} == pytest.approx(expected)
