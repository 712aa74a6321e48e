"""The optimisers and schedules that ``recipe.optimizer`` and ``recipe.schedule`` can name, and the rate of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import torch

from fsseg_bench.choices import Choices
from fsseg_bench.errors import UserError

if TYPE_CHECKING:
    from fsseg_bench.recipe import Recipe

_POLY_POWER = 0.9  # the exponent of the "poly" schedule in the DeepLab line of work

Group = dict[str, Any]
"""Parameters (``params``) with their rate (``lr``) and ``weight_decay``; ``factor`` is their rate relative to the
recipe's, which the schedule multiplies. An optimiser keeps it."""


class MakeOptimizer(Protocol):
    """What makes one optimiser."""

    def __call__(self, recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
        """An optimiser of ``groups`` with the recipe's values."""
        ...


# not what the optimisers of this process read: one that is added must not take a key out of other recipes' identities
OPTIONAL = frozenset({"momentum", "betas", "eps"})
"""Keys of a recipe that mean nothing to an optimiser which does not read them."""

OPTIMIZERS: Choices[MakeOptimizer] = Choices("recipe.optimizer")
"""``@OPTIMIZERS.add("NAME", reads=("KEY", ...))`` above a :class:`MakeOptimizer` adds one; ``reads`` are the keys among
``momentum``, ``betas`` and ``eps`` that it uses. The others are then refused and are not part of a run."""


@OPTIMIZERS.add("sgd", reads=("momentum",))
def sgd(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum; weight decay is part of the gradient."""
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)


@OPTIMIZERS.add("sgd-nesterov", reads=("momentum",))
def sgd_nesterov(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """The same with Nesterov's momentum, which must be above 0."""
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)


@OPTIMIZERS.add("adam", reads=("betas", "eps"))
def adam(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """Adam; weight decay is part of the gradient."""
    return torch.optim.Adam(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


@OPTIMIZERS.add("adamw", reads=("betas", "eps"))
def adamw(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """Adam with weight decay apart from the gradient."""
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


class Schedule(Protocol):
    """How the rate changes over a training."""

    def __call__(self, recipe: Recipe, iteration: int) -> float:
        """The rate of step ``iteration`` (0 to ``recipe.iterations`` - 1) relative to ``recipe.lr``, at least 0."""
        ...


SCHEDULES: Choices[Schedule] = Choices("recipe.schedule")
"""``@SCHEDULES.add("NAME")`` above a :class:`Schedule` adds one."""


def rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of step ``iteration`` (from 0), before the parameters' factors.

    The warm-up rises to ``lr``; after it the schedule is where it would be without one.

    Raises:
        UserError: the schedule gives no rate.
    """
    if iteration < recipe.warmup:
        return recipe.lr * (iteration + 1) / recipe.warmup
    factor = float(SCHEDULES.find(recipe.schedule).call(recipe, iteration))
    if not 0 <= factor < math.inf:
        raise UserError(f"recipe.schedule={recipe.schedule} gives {factor} at iteration {iteration}; it must be >= 0")
    return recipe.lr * factor


@SCHEDULES.add("constant")
def constant(recipe: Recipe, iteration: int) -> float:
    """The same rate at all steps."""
    return 1.0


@SCHEDULES.add("step")
def step(recipe: Recipe, iteration: int) -> float:
    """Times ``gamma`` at each of the ``milestones``."""
    return recipe.gamma ** sum(iteration >= milestone for milestone in recipe.milestones)


@SCHEDULES.add("poly")
def poly(recipe: Recipe, iteration: int) -> float:
    """Falls to 0 as (1 - i/iterations)**0.9."""
    return float((1 - iteration / recipe.iterations) ** _POLY_POWER)


@SCHEDULES.add("cosine")
def cosine(recipe: Recipe, iteration: int) -> float:
    """Falls to 0 along half a cosine, without restarts."""
    return (1 + math.cos(math.pi * iteration / recipe.iterations)) / 2


@SCHEDULES.add("cosine-to-gamma")
def cosine_to_gamma(recipe: Recipe, iteration: int) -> float:
    """Falls to the share ``gamma`` along half a cosine."""
    return recipe.gamma + (1 - recipe.gamma) * cosine(recipe, iteration)
