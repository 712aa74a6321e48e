"""Training recipes that several methods share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe

CODE = "the authors' code"
"""The usual source of a value."""
FIXED_BN = "ours: VGG-16 has none; fixed in ResNets"
_PAPER = "BiOpt paper"
_OURS = "ours"


def changed(recipe: Recipe, sources: Mapping[str, str], **values: Any) -> Recipe:
    """A copy with other values and other sources."""
    return dataclasses.replace(recipe, **values, sources={**recipe.sources, **sources})


def from_code(sources: Mapping[str, str], *, source: str = CODE, **values: Any) -> Recipe:
    """A recipe of ``values``, each from ``source`` unless ``sources`` says otherwise."""
    return Recipe(**values, sources={**dict.fromkeys(values, source), **sources})


def biopt_recipe(protocol: Protocol, shot: int) -> Recipe:
    """The BiOpt paper's training for its two data sets, and the light recipe for embedded images."""
    if protocol.synthetic:
        return light_recipe()
    coco = protocol.trains_like_coco
    return Recipe(
        iterations=20_000 if coco else 10_000,
        batch=8 if shot == 1 else 2,
        lr=7e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step" if coco else "constant",
        milestones=(10_000,) if coco else (),
        gamma=0.1,
        freeze="none",
        bn="eval",
        augment="enlarged-crop-supports",
        sources={
            "iterations": f"{_PAPER}, its 'epochs' read as iterations",
            "batch": f"{_PAPER}: 8 for 1 shot, 2 for 5; other shots as 5",
            "lr": f"{_PAPER}, one rate for all parameters",
            "momentum": _PAPER,
            "weight_decay": _PAPER,
            "schedule": f"{_PAPER}: lowered on COCO, nothing stated for PASCAL",
            "milestones": _PAPER,
            "gamma": _PAPER,
            "freeze": f"{_OURS}: not stated",
            "bn": f"{_OURS}: not stated; fixed, so that an episode's loss does not depend on its batch",
            "augment": f"{_PAPER}: 'random crop as in CANet', whose code crops the supports alone",
            "train_shots": f"{_OURS}: as in the evaluation",
        },
    )


def fcn_recipe(protocol: Protocol) -> Recipe:
    """The training of co-FCN's and SG-One's authors, who share it; and a longer light recipe for both."""
    if protocol.synthetic:
        why = dict.fromkeys(("iterations", "lr"), f"{_OURS}: from scratch the loss hardly falls with less")
        return changed(light_recipe(), why, iterations=300, lr=0.1)
    return from_code(
        {"bn": FIXED_BN},
        iterations=100_000,
        batch=1,
        lr=1e-5,
        momentum=0.99,
        weight_decay=5e-4,
        schedule="constant",
        freeze="none",
        bn="eval",
        augment="none",
        train_shots=1,
    )


def canet_recipe(source: str) -> Recipe:
    """The training of CANet's authors, with one support; ``source`` says what it is to the method."""
    return from_code(
        {
            "iterations": f"{source}: 200 epochs of the base classes' pairs, 10,260 in the mean over PASCAL's folds",
            "lr": f"{source}: option 2.5e-4, whose only group runs at ten times that",
            "train_shots": f"{_OURS}: as in the evaluation",
        },
        source=source,
        iterations=513_000,
        batch=4,
        lr=2.5e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="constant",
        freeze="all",
        bn="stats",
        augment="enlarged-crop-supports",
    )


def light_recipe() -> Recipe:
    """For small networks from scratch on images made by code: under a minute on two cores."""
    chosen = ("iterations", "batch", "lr", "schedule", "warmup", "clip", "augment")
    sources = dict.fromkeys(chosen, f"{_OURS}: short and steady for every method")
    return Recipe(
        iterations=150, batch=4, lr=1e-2, schedule="poly", warmup=15, clip=1.0, augment="flip", sources=sources
    )
