"""The schedules that ``recipe.schedule`` can name, and the rate of each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from fsseg_bench.choices import Choices
from fsseg_bench.errors import UserError

if TYPE_CHECKING:
    from fsseg_bench.recipe.recipe import Recipe

_POLY_POWER = 0.9  # the exponent of the "poly" schedule in the DeepLab line of work


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
