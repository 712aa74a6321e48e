"""The optimisers that ``recipe.optimizer`` can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from fsseg_bench.choices import Choices

if TYPE_CHECKING:
    from fsseg_bench.recipe.recipe import Recipe

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


@OPTIMIZERS.add("adam", reads=("betas", "eps"))
def adam(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """Adam; weight decay is part of the gradient."""
    return torch.optim.Adam(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


@OPTIMIZERS.add("adamw", reads=("betas", "eps"))
def adamw(recipe: Recipe, groups: list[Group]) -> torch.optim.Optimizer:
    """Adam with weight decay apart from the gradient."""
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
