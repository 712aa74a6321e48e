"""How a method trains, as plain data: the part of a method's definition that is not mathematics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from fsseg_bench.data.augment import AUGMENTATIONS
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.values import checked_value

_LEAST = {
    "iterations": 0,
    "batch": 1,
    "weight_decay": 0,
    "warmup": 0,
    "clip": 0,
    "head_lr_factor": 0,
    "bias_lr_factor": 0,
    "train_shots": 0,
}
BY_USER = "set by the user"
"""The source of a value that was set from outside."""


@dataclass(frozen=True)
class Recipe:
    """A training recipe. Every value can be set from outside with ``--set recipe.KEY=VALUE``."""

    iterations: int
    """Optimiser steps; 0 evaluates the method as it is built."""
    batch: int
    """Training episodes a step."""
    lr: float
    """Learning rate of SGD at the start (after the warm-up)."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 weight decay, on every trained parameter."""
    schedule: Literal["constant", "step", "poly"] = "constant"
    """``step``: times ``gamma`` at each milestone. ``poly``: times (1 - i/iterations)**0.9."""
    milestones: tuple[int, ...] = ()
    """Iterations at which ``step`` lowers the rate."""
    gamma: float = 0.1
    """Factor of ``step``."""
    warmup: int = 0
    """Iterations over which the rate rises linearly from 0."""
    clip: float = 0.0
    """Largest gradient norm; 0 is off."""
    head_lr_factor: float = 1.0
    """The rate of the parameters outside the backbone, relative to ``lr``."""
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    """Rates of single parts relative to ``lr``, by the beginning of their parameters' names; the longest wins.
    Set as ``"semantic.=10,conditioning.=0.1"``."""
    bias_lr_factor: float = 1.0
    """The rate of biases, relative to that of the weights beside them (Caffe's habit is 2)."""
    bias_decay: bool = True
    """Whether weight decay applies to biases."""
    freeze: str = "none"
    """``none``, ``all``, or the last backbone stage that is not trained (``stem``, ``layer2``, ...), in each trunk. It
    holds pretrained numbers alone: what a method adds to a trunk (layers, input channels, a trunk that no weights fill)
    is trained, at the rate of its place. Without weights it holds the stages at their random start."""
    bn: Literal["eval", "train", "stats"] = "eval"
    """Of the backbone's batch-norms. ``eval``: statistics and affine parameters stay fixed. ``train``: both move.
    ``stats``: batch statistics, whose running means move; affine parameters stay fixed. Weights whose batch-norms are
    folded into the convolutions go with ``eval`` alone."""
    augment: str = "flip"
    """How training images are changed at random. ``flip``: horizontal flips. ``enlarged-crop``: flips and enlarged
    random crops of supports and query; ``enlarged-crop-supports``: of the supports alone, the query is only resized.
    ``resized-crop``: flips, and random crops of half to all of the image, of changed shape. ``none``. A module can add
    others (:data:`AUGMENTATIONS`); what an earlier version called ``canet`` and ``canet-both`` goes by its new name."""
    train_shots: int = 0
    """Supports a class in training; 0 means as in the evaluation."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each value comes from (paper, code, ours), by field name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", AUGMENTATIONS.current(self.augment))

    def settings(self) -> dict[str, Any]:
        """The fields that determine training, as JSON-able values (``sources`` left out)."""
        values = dataclasses.asdict(dataclasses.replace(self, sources={}))
        values.pop("sources")
        values["milestones"] = list(self.milestones)
        values["lr_factors"] = dict(self.lr_factors)
        return values

    def with_settings(self, given: Mapping[str, Any]) -> Recipe:
        """A copy with other values, as text or in Python: ``{"lr": "1e-3", "milestones": (10_000, 20_000)}``.

        Raises:
            UserError: unknown key or a value of the wrong type; names the key and what is allowed.

        Example:
            >>> Recipe(iterations=100, batch=4, lr=1e-3).with_settings({"lr": "5e-4"}).lr
            0.0005
        """
        hints = get_type_hints(Recipe)
        hints.pop("sources")
        changes = {}
        for key, value in given.items():
            if key not in hints:
                raise unknown("recipe key", key, hints)
            changes[key] = checked_value(f"recipe.{key}", value, hints[key])
        sources = {**self.sources, **dict.fromkeys(changes, BY_USER)}
        return dataclasses.replace(self, **changes, sources=sources).checked()

    def checked(self) -> Recipe:
        """Itself, after a check of the ranges.

        Raises:
            UserError: a value is out of its range.
        """
        for key, bound in _LEAST.items():
            if not bound <= getattr(self, key) < math.inf:
                raise UserError(f"recipe.{key} is {getattr(self, key)}; it must be at least {bound}")
        for key in ("lr", "gamma"):
            if not 0 < getattr(self, key) < math.inf:
                raise UserError(f"recipe.{key} is {getattr(self, key)}; it must be above 0")
        for prefix, factor in self.lr_factors.items():
            if not 0 <= factor < math.inf:
                raise UserError(f"recipe.lr_factors: {prefix!r} is {factor}; it must be at least 0")
        AUGMENTATIONS.find(self.augment)
        if not 0 <= self.momentum < 1:
            raise UserError(f"recipe.momentum is {self.momentum}; it must be at least 0 and below 1")
        if list(self.milestones) != sorted({i for i in self.milestones if i > 0}):
            raise UserError(f"recipe.milestones is {list(self.milestones)}; it must be ascending, from 1")
        return self
