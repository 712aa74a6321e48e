"""How a method trains: its recipe, and the optimisers, schedules and augmentations that a recipe can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fsseg_bench.choices import Choices
from fsseg_bench.data.augment import AUGMENTATIONS as AUGMENTATIONS
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.recipe.steps import OPTIMIZERS as OPTIMIZERS
from fsseg_bench.recipe.steps import OPTIONAL
from fsseg_bench.recipe.steps import SCHEDULES as SCHEDULES
from fsseg_bench.schema import Range, check, fields_of
from fsseg_bench.values import checked_value

Steps = Annotated[int, Range(least=0, most=10**9)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, below=1)]

BY_USER = "set by the user"
"""The source of a value that was set from outside."""


@dataclass(frozen=True)
class Recipe:
    """A training recipe. Every value can be set from outside with ``--set recipe.KEY=VALUE``."""

    iterations: Steps
    """Optimiser steps; 0 evaluates the method as it is built."""
    batch: Annotated[int, Range(least=1, most=1024)]
    """Training episodes a step."""
    lr: Annotated[float, Range(above=0)]
    """Learning rate at the start (after the warm-up)."""
    optimizer: str = "sgd"
    """``sgd``, ``sgd-nesterov``, ``adam``, ``adamw``, or one that a module added (:data:`OPTIMIZERS`)."""
    momentum: Share = 0.9
    """Momentum of ``sgd`` and ``sgd-nesterov``."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """What ``adam`` and ``adamw`` keep, at each step, of the means of gradients and of their squares."""
    eps: Annotated[float, Range(above=0)] = 1e-8
    """What ``adam`` and ``adamw`` add to the root of the mean square."""
    weight_decay: NotNegative = 5e-4
    """Weight decay, on every trained parameter: a part of the gradient, but for ``adamw``."""
    schedule: str = "constant"
    """``constant``. ``step``: times ``gamma`` at each milestone. ``poly``: times (1 - i/iterations)**0.9. ``cosine``:
    times (1 + cos(pi i/iterations))/2. ``cosine-to-gamma``: the same, to ``gamma`` in place of 0. Or one that a module
    added (:data:`SCHEDULES`)."""
    milestones: tuple[int, ...] = ()
    """Iterations at which ``step`` lowers the rate."""
    gamma: Annotated[float, Range(above=0)] = 0.1
    """Factor of ``step``; where ``cosine-to-gamma`` ends, relative to ``lr``."""
    warmup: Steps = 0
    """Iterations over which the rate rises linearly from 0."""
    clip: NotNegative = 0.0
    """Largest gradient norm; 0 is off."""
    head_lr_factor: NotNegative = 1.0
    """The rate of the parameters outside the backbone, relative to ``lr``."""
    lr_factors: Mapping[str, NotNegative] = field(default_factory=dict)
    """Rates of single parts relative to ``lr``, by the beginning of their parameters' names; the longest wins.
    Set as ``"semantic.=10,conditioning.=0.1"``."""
    bias_lr_factor: NotNegative = 1.0
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
    train_shots: Annotated[int, Range(least=0, most=1000)] = 0
    """Supports a class in training; 0 means as in the evaluation."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each value comes from (paper, code, ours), by field name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", AUGMENTATIONS.current(self.augment))

    def settings(self) -> dict[str, Any]:
        """The fields that determine training, as JSON-able values.

        Left out are ``sources``, what the optimiser does not read, and ``optimizer`` where it is SGD: so are the
        records of versions that knew nothing else, and equal trainings stay equal.
        """
        values = dataclasses.asdict(dataclasses.replace(self, sources={}))
        for key in ("sources", *self._unread, *(["optimizer"] if self.optimizer == "sgd" else [])):
            values.pop(key)
        lists = {key: list(value) for key, value in values.items() if isinstance(value, tuple)}
        return {**values, **lists, "lr_factors": dict(self.lr_factors)}

    def with_settings(self, given: Mapping[str, Any]) -> Recipe:
        """A copy with other values, as text or in Python: ``{"lr": "1e-3", "milestones": (10_000, 20_000)}``.

        Raises:
            UserError: unknown key, a value of the wrong type or range, or one that the optimiser does not read; names
                the key and what is allowed.

        Example:
            >>> changed = Recipe(iterations=100, batch=4, lr=1e-3).with_settings({"lr": "5e-4", "optimizer": "adam"})
            >>> changed.lr, changed.optimizer, changed.sources["lr"]
            (0.0005, 'adam', 'set by the user')
        """
        kinds = {name: kind for name, kind, _ in fields_of(Recipe) if name != "sources"}
        changes = {}
        for key, value in given.items():
            if key not in kinds:
                raise unknown("recipe key", key, kinds)
            changes[key] = checked_value(f"recipe.{key}", value, kinds[key])
        sources = {**self.sources, **dict.fromkeys(changes, BY_USER)}
        changed = dataclasses.replace(self, **changes, sources=sources).checked()
        for key in sorted(changes.keys() & changed._unread):
            reads = ", ".join(sorted(OPTIMIZERS.find(changed.optimizer).reads)) or "none of its kind"
            raise UserError(f"recipe.{key} means nothing to {changed.optimizer}, which reads {reads}; leave it out")
        return changed

    def checked(self) -> Recipe:
        """Itself, after a check of types, ranges and names.

        Raises:
            UserError: a value is out of its range, or names nothing.
        """
        check(self, "recipe.")
        for choices, name in self._choices:
            choices.find(name)
        if list(self.milestones) != sorted({i for i in self.milestones if i > 0}):
            raise UserError(f"recipe.milestones is {list(self.milestones)}; it must be ascending, from 1")
        return self

    @property
    def modules(self) -> set[str]:
        """Where the functions that it names are defined."""
        return {choices.find(name).call.__module__ for choices, name in self._choices}

    @property
    def _choices(self) -> tuple[tuple[Choices[Any], str], ...]:
        return (OPTIMIZERS, self.optimizer), (SCHEDULES, self.schedule), (AUGMENTATIONS, self.augment)

    @property
    def _unread(self) -> frozenset[str]:
        """The keys that other optimisers read."""
        return OPTIONAL - OPTIMIZERS.find(self.optimizer).reads
