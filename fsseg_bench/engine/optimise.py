"""Optimiser and schedule of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.recipe import Recipe

_POLY_POWER = 0.9  # the exponent of the "poly" schedule in the DeepLab line of work


def prepare(method: Method, recipe: Recipe) -> None:
    """Puts ``method`` in training mode with the recipe's frozen stages and batch-norm mode."""
    method.train()
    method.backbone.freeze(recipe.freeze)
    method.backbone.fix_batch_norm(recipe.bn == "eval")


def build_optimizer(method: Method, recipe: Recipe) -> torch.optim.SGD:
    """SGD over the trained parameters; those outside the backbone at ``head_lr_factor`` times the rate.

    Raises:
        UserError: nothing is left to train.
    """
    trunk = {id(p) for p in method.backbone.parameters()}
    groups = []
    for factor, inside in ((1.0, True), (recipe.head_lr_factor, False)):
        parameters = [p for p in method.parameters() if p.requires_grad and (id(p) in trunk) is inside]
        if parameters:
            groups.append({"params": parameters, "lr": recipe.lr * factor, "factor": factor})
    if not groups:
        raise UserError(
            f"recipe.freeze={recipe.freeze} leaves nothing to train; use --iterations 0 to evaluate without training"
        )
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of step ``iteration`` (from 0), before the head's factor."""
    if iteration < recipe.warmup:
        return recipe.lr * (iteration + 1) / recipe.warmup
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(iteration >= m for m in recipe.milestones)
    if recipe.schedule == "poly":
        return float(recipe.lr * (1 - iteration / recipe.iterations) ** _POLY_POWER)
    return recipe.lr


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Sets the rate of every group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["factor"]


def clip(method: nn.Module, largest: float) -> None:
    """Scales the gradients down to the norm ``largest``; 0 leaves them."""
    if largest > 0:
        torch.nn.utils.clip_grad_norm_(_trained(method), largest)


def _trained(method: nn.Module) -> Iterator[nn.Parameter]:
    return (p for p in method.parameters() if p.grad is not None)
