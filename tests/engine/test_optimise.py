"""Schedules by hand, and parameter groups."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from fsseg_bench.engine.optimise import build_optimizer, rate
from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.recipe import Recipe
from fsseg_methods.baseline import Baseline
from tests.support.heads import TinyBackbone


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


class Small(Baseline):
    """A trunk and two heads."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.near = nn.Conv2d(6, 2, 1)
        self.near_side = nn.Conv2d(6, 2, 1, bias=False)


def groups(**changes: Any) -> dict[str, tuple[float, float]]:
    """Rate and decay of every parameter under a recipe."""
    method = Small(TinyBackbone())
    optimizer = build_optimizer(method, Recipe(iterations=1, batch=1, lr=0.1, weight_decay=0.01, **changes))
    names = {id(p): name for name, p in method.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_rates_of_parts_and_biases_by_hand() -> None:
    found = groups(head_lr_factor=10.0, lr_factors={"near_": 3.0, "backbone.conv.w": 0.5}, bias_lr_factor=2.0)
    wanted = {
        "backbone.conv.weight": 0.05,
        "backbone.conv.bias": 0.2,
        "near.weight": 1.0,
        "near.bias": 2.0,
        "near_side.weight": 0.3,
    }
    assert {name: rate for name, (rate, _) in found.items()} == pytest.approx(wanted)
    assert {decay for _, decay in found.values()} == {0.01}


def test_the_longest_beginning_wins() -> None:
    assert groups(lr_factors={"near": 2.0, "near_side.": 5.0})["near_side.weight"][0] == pytest.approx(0.5)


def test_biases_without_decay() -> None:
    found = {name: decay for name, (_, decay) in groups(bias_decay=False).items()}
    assert {name for name, decay in found.items() if decay == 0} == {"backbone.conv.bias", "near.bias"}


def test_a_beginning_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"no parameter begins with 'far\.'"):
        groups(lr_factors={"far.": 2.0})
