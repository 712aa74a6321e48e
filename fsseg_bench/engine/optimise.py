"""What a recipe does to a method: what is trained, at which rates, by which optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fsseg_bench.errors import TrainingError, UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.recipe import BY_USER, OPTIMIZERS, Recipe

_SHOWN = 3


def prepare(method: Method, recipe: Recipe) -> None:
    """Puts ``method`` in training mode with the recipe's frozen stages and batch-norm mode, in each of its trunks.

    A trunk without weights beside one with weights is new as a whole: it is not frozen.

    Raises:
        TrainingError: batch-norms would normalise by the batch although the weights hold them folded.
    """
    if method.learns_by_counting:
        method.eval().requires_grad_(False)
        return
    method.train()
    pretrained = any(trunk.filled for trunk in trunks(method))
    for trunk in trunks(method):
        trunk.freeze(recipe.freeze if trunk.filled or not pretrained else "none")
        trunk.set_batch_norm(recipe.bn)
    names = sorted({name for trunk in trunks(method) for name in trunk.moving_folded_norms()})
    if names:
        whose = BY_USER if recipe.sources.get("bn") == BY_USER else "the method's recipe"
        listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise TrainingError(
            f"recipe.bn={recipe.bn} ({whose}), but the weights hold {len(names)} batch-norms folded into the "
            f"convolutions ({listed}: weight 1, mean 0, variance 1). Normalising by each batch would destroy the "
            "pretrained features",
            "; use --set {recipe}.bn=eval, or weights whose batch-norms are not folded",
        )


def check_training(method: Method, recipe: Recipe) -> None:
    """Finds before anything runs what :func:`prepare` and :func:`build_optimizer` would refuse.

    Raises:
        UserError: as they do.
    """
    prepare(method, recipe)
    build_optimizer(method, recipe)


def trunks(method: Method) -> list[Backbone]:
    """The backbones of a method: one for most, two where supports have their own."""
    return [module for module in method.modules() if isinstance(module, Backbone)]


def build_optimizer(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the trained parameters, each at its own rate (:func:`_factor`) and decay.

    Raises:
        UserError: nothing is left to train, the optimiser cannot be made, or ``lr_factors`` names parameters that do
            not exist. A method's own ``lr_factors`` (with a source) may name parts that its switches leave out.
    """
    if method.learns_by_counting:  # a number that no gradient reaches: it never moves
        return _made(recipe, [{"params": [nn.Parameter(torch.zeros(()))], "lr": recipe.lr, "factor": 1.0}])
    inside = {id(p) for trunk in trunks(method) for p in trunk.parameters()}
    named = list(method.named_parameters())
    for prefix in recipe.lr_factors if recipe.sources.get("lr_factors", BY_USER) == BY_USER else ():
        if not any(name.startswith(prefix) for name, _ in named):
            raise UserError(
                f"recipe.lr_factors: no parameter begins with {prefix!r}; they begin with "
                f"{', '.join(sorted({name.partition('.')[0] + '.' for name, _ in named}))}"
            )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            bias = name.endswith("bias")
            decay = recipe.weight_decay if recipe.bias_decay or not bias else 0.0
            factor = _factor(name, id(parameter) in inside, recipe) * (recipe.bias_lr_factor if bias else 1.0)
            groups.setdefault((factor, decay), []).append(parameter)
    if not groups:
        raise UserError(
            f"recipe.freeze={recipe.freeze} leaves nothing to train; use --iterations 0 to evaluate without training"
        )
    listed = [
        {"params": parameters, "lr": recipe.lr * factor, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    return _made(recipe, listed)


def _made(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    make = OPTIMIZERS.find(recipe.optimizer)
    where = f"recipe.optimizer={recipe.optimizer} ({'.'.join(make.origin)})"
    try:
        optimizer = make.call(recipe, groups)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer) or any("factor" not in g for g in optimizer.param_groups):
        raise UserError(f"{where}: it must return a torch.optim.Optimizer of the groups it is given, with their keys")
    return optimizer


def _factor(name: str, inside: bool, recipe: Recipe) -> float:
    """A parameter's rate relative to ``lr``: by the longest prefix, else by whether it is inside a backbone."""
    prefixes = [prefix for prefix in recipe.lr_factors if name.startswith(prefix)]
    if prefixes:
        return recipe.lr_factors[max(prefixes, key=len)]
    return 1.0 if inside else recipe.head_lr_factor


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Sets the rate of every group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["factor"]


def clip(method: nn.Module, largest: float) -> None:
    """Scales the gradients down to the norm ``largest``; 0 leaves them."""
    if largest > 0:
        torch.nn.utils.clip_grad_norm_([p for p in method.parameters() if p.grad is not None], largest)
