"""Schedules by hand, parameter groups, what is frozen, and weights with folded batch-norms."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import build_optimizer, check_training, prepare, set_rate
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.weights import load_weights
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.recipe.steps import rate
from fsseg_bench.registry import find_method, method_names
from fsseg_methods.baseline import Baseline
from tests.support.heads import TinyBackbone, make
from tests.support.networks import fold_by_hand, random_backbone


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0: 0.1, 99: 0.1}),
        ({"warmup": 4}, {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.1}),
    ],
)
def test_rates_by_hand(changes: dict, expected: dict) -> None:
    recipe = Recipe(iterations=100, batch=1, lr=0.1, **changes)
    assert {i: rate(recipe, i) for i in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
        ("step", lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [4, 7], 0.3)),
        ("poly", lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 12, 0.9)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)),
        ("cosine-to-gamma", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12, eta_min=0.3 * 0.2)),
    ],
)
def test_rates_are_torchs(schedule: str, reference: Any) -> None:
    recipe = Recipe(iterations=12, batch=1, lr=0.2, schedule=schedule, milestones=(4, 7), gamma=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1)], recipe.lr)
    scheduler = reference(optimizer)
    for iteration in range(recipe.iterations):
        assert rate(recipe, iteration) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"momentum": 0.7}, lambda p: torch.optim.SGD(p, 0.1, 0.7, weight_decay=0.01)),
        (
            {"optimizer": "sgd-nesterov", "momentum": 0.7},
            lambda p: torch.optim.SGD(p, 0.1, 0.7, weight_decay=0.01, nesterov=True),
        ),
        (
            {"optimizer": "adam", "betas": (0.7, 0.9), "eps": 1e-4},
            lambda p: torch.optim.Adam(p, 0.1, (0.7, 0.9), 1e-4, weight_decay=0.01),
        ),
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.01)),
    ],
)
def test_steps_are_torchs_bit_by_bit(changes: dict[str, Any], reference: Any) -> None:
    recipe = Recipe(iterations=9, batch=1, lr=0.1, weight_decay=0.01, schedule="poly", **changes)
    ours = make(Small, TinyBackbone())
    theirs = copy.deepcopy(ours)
    start = [p.clone() for p in ours.parameters()]
    pairs = (ours, build_optimizer(ours, recipe)), (theirs, reference(theirs.parameters()))
    for iteration in range(recipe.iterations):
        set_rate(pairs[0][1], rate(recipe, iteration))
        pairs[1][1].param_groups[0]["lr"] = 0.1 * (1 - iteration / 9) ** 0.9
        for model, optimizer in pairs:
            optimizer.zero_grad()
            sum((p * p.sin()).sum() for p in model.parameters()).backward()
            optimizer.step()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert not any(map(torch.equal, ours.parameters(), start))


class Small(Baseline):
    """A trunk and two heads."""

    def __init__(self, backbone: Backbone, switches: Baseline.Switches) -> None:
        super().__init__(backbone, switches)
        self.near = nn.Conv2d(6, 2, 1)
        self.near_side = nn.Conv2d(6, 2, 1, bias=False)


def groups(**changes: Any) -> dict[str, tuple[float, float]]:
    """Rate and decay of every parameter under a recipe."""
    method = make(Small, TinyBackbone())
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


# --- what is frozen, and weights with folded batch-norms ---

SMALL = "resnet18-layer3"


class TwoTrunks(Baseline):
    """A second trunk that no weights fill, beside a copy of the first."""

    def __init__(self, backbone: Backbone, switches: Baseline.Switches) -> None:
        super().__init__(backbone, switches)
        self.twin = copy.deepcopy(backbone)
        self.fresh = build_backbone("vgg16")


def _learning(method: Method, recipe: Recipe) -> set[str]:
    prepare(method, recipe)
    return {name for name, p in method.named_parameters() if p.requires_grad}


def test_a_trunk_that_no_weights_fill_is_not_frozen(tmp_path: Path) -> None:
    torch.save(random_backbone(SMALL).state_dict(), tmp_path / "weights.pth")
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "weights.pth"))
    learning = _learning(make(TwoTrunks, backbone), Recipe(iterations=1, batch=1, lr=0.1, freeze="layer3"))
    assert {name.partition(".")[0] for name in learning} == {"fresh"}
    assert len(learning) == 26  # 13 convolutions


def test_without_weights_all_trunks_are_frozen_as_they_are() -> None:
    method = make(TwoTrunks, build_backbone(SMALL))
    method.fresh = build_backbone(SMALL)
    learning = _learning(method, Recipe(iterations=1, batch=1, lr=0.1, freeze="layer2"))
    assert {name.partition(".")[0] for name in learning} == {"backbone", "twin", "fresh"}
    assert all(".layer3." in name for name in learning)


def _folded_file(folder: Path, name: str, layout: Layout, only: str = "") -> str:
    torch.save(fold_by_hand(random_backbone(name, layout), only=only).state_dict(), folder / "folded.pth")
    return str(folder / "folded.pth")


@pytest.mark.parametrize(
    ("name", "changes", "only", "count"),
    [
        ("baseline", {"bn": "train"}, "", 15),
        ("baseline", {"bn": "stats", "freeze": "all"}, "", 15),  # statistics of frozen stages move
        ("baseline", {"bn": "train", "freeze": "layer2"}, "", 5),
        ("baseline", {"bn": "train"}, "layer2.0.", 3),
        ("cofcn", {"bn": "stats"}, "", 15),
        ("fwb", {"bn": "train"}, "", 13),
    ],
)
def test_folded_weights_are_refused_where_batches_would_normalise(
    name: str, changes: dict[str, Any], only: str, count: int, tmp_path: Path
) -> None:
    cls = find_method(name)
    backbone = "vgg16" if name == "fwb" else SMALL
    method, _ = assemble(cls, backbone, _folded_file(tmp_path, backbone, cls.layout, only), {}, 0)
    recipe = Recipe(iterations=1, batch=1, lr=0.1, **changes)
    with pytest.raises(UserError, match=rf"hold {count} batch-norms folded .*use --set recipe\.bn=eval"):
        check_training(method, recipe)
    check_training(method, dataclasses.replace(recipe, bn="eval", freeze="none"))


def test_folded_norms_of_frozen_stages_harm_nothing(tmp_path: Path) -> None:
    method, _ = assemble(Baseline, SMALL, _folded_file(tmp_path, SMALL, Baseline.layout, "layer1."), {}, 0)
    prepare(method, Recipe(iterations=1, batch=1, lr=0.1, bn="train", freeze="layer1"))


def test_folded_weights_of_a_second_trunk_alone_are_refused(tmp_path: Path) -> None:
    """The first trunk's norms are fine; the message comes from the second."""
    method = make(TwoTrunks, build_backbone(SMALL))
    method.fresh = build_backbone(SMALL)
    load_weights(method.fresh, _folded_file(tmp_path, SMALL, Layout()))
    with pytest.raises(UserError, match="hold 15 batch-norms folded"):
        prepare(method, Recipe(iterations=1, batch=1, lr=0.1, bn="train"))


@pytest.mark.parametrize(
    ("name", "value"), [("canet", "stats"), ("fwb", "train"), ("ppnet", "train"), ("pmms", "stats")]
)
def test_a_method_s_own_recipe_is_named_in_the_refusal(name: str, value: str, tmp_path: Path) -> None:
    cls = find_method(name)
    method, _ = assemble(cls, SMALL, _folded_file(tmp_path, SMALL, cls.layout), {}, 0)
    recipe = cls.recipe(load_protocol("pascal5i"), 1)
    with pytest.raises(UserError, match=rf"recipe\.bn={value} \(the method's recipe\)"):
        prepare(method, recipe)
    with pytest.raises(UserError, match=r"recipe\.bn=train \(set by the user\)"):
        prepare(method, recipe.with_settings({"bn": "train", "freeze": "none"}))
    prepare(method, recipe.with_settings({"bn": "eval"}))


@pytest.mark.parametrize("bn", ["train", "stats"])
def test_random_and_unfolded_weights_are_not_refused(bn: Any, tmp_path: Path) -> None:
    torch.save(random_backbone(SMALL).state_dict(), tmp_path / "usual.pth")
    for weights in ("none", str(tmp_path / "usual.pth")):
        method, _ = assemble(Baseline, SMALL, weights, {}, 0)
        check_training(method, Recipe(iterations=1, batch=1, lr=0.1, bn=bn))


@pytest.mark.parametrize(
    ("name", "backbone"), [*((name, SMALL) for name in method_names()), ("cofcn", "vgg16"), ("rpmms", "vgg16")]
)
def test_freezing_all_holds_what_the_file_holds_and_nothing_else(name: str, backbone: str, tmp_path: Path) -> None:
    """By value: in every trunk of every method, a parameter is held exactly when it is the file's."""
    cls = find_method(name)
    torch.save(random_backbone(backbone, cls.layout).state_dict(), tmp_path / "weights.pth")
    given = torch.load(tmp_path / "weights.pth", weights_only=True)
    method, _ = assemble(cls, backbone, str(tmp_path / "weights.pth"), {}, 0)
    learning = _learning(method, Recipe(iterations=1, batch=1, lr=0.1, freeze="all"))
    prefixes = [prefix for prefix, module in method.named_modules() if isinstance(module, Backbone)]
    assert prefixes
    for key, parameter in method.named_parameters():
        prefix = next((prefix for prefix in prefixes if key.startswith(f"{prefix}.")), None)
        if prefix is not None:
            stored = given.get(key.removeprefix(f"{prefix}."))
            from_file = stored is not None and stored.shape == parameter.shape and torch.equal(stored, parameter)
            assert (key, key in learning) == (key, not from_file)
