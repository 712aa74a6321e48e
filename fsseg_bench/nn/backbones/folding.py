"""Backbones made ready for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fsseg_bench.nn.backbones.base import Backbone

_NEAR = 1e-3  # to 1; no trained layer has most of its channels so near
_MOST = 0.5


def folded(backbone: Backbone) -> Backbone:
    """A copy for inference: the same features with fewer passes over memory.

    Every batch-norm (with its running statistics) is folded into the plain convolution before it, unless the backbone
    does not tell them by their order (``folds``); the copy is in
    evaluation mode, channels-last and without gradients of its parameters. ``backbone`` is left as it is, and
    later changes of its weights do not reach the copy.
    """
    twin = copy.deepcopy(backbone).eval()
    twin.forget_parts()  # else the replaced layers stay in memory
    names = {module: name for name, module in twin.named_modules()}
    pairs = convolutions_with_norms(twin) if backbone.folds else ()
    for convolution, norm in [pair for pair in pairs if is_plain(pair[0])]:
        twin.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        twin.set_submodule(names[norm], nn.Identity())
    return twin.requires_grad_(False).to(memory_format=torch.channels_last)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a convolution that is computed from its weights as they are.

    A class made of it may change them on the way (weight standardisation), and so may hooks.
    """
    return type(module) is nn.Conv2d and not (module._forward_hooks or module._forward_pre_hooks)


def convolutions_with_norms(network: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with a batch-norm right behind it, and that batch-norm."""
    for module in network.modules():
        for convolution, norm in pairwise(module.children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield convolution, norm


def folded_norms(network: nn.Module) -> tuple[str, ...]:
    """Names of the batch-norms of a network with weights that were folded into the convolutions before them.

    Such a layer multiplies by 1, or states the variance 1, in most channels, whatever the convolution gives: in place
    of its statistics those of a batch would change the features. A layer as it is initialised, with no shift in its
    convolution either, was never trained and is no folded one.
    """
    names = {module: name for name, module in network.named_modules()}
    return tuple(
        names[norm]
        for convolution, norm in convolutions_with_norms(network)
        if _is_identity(norm) and not _is_initial(convolution, norm)
    )


def _is_identity(norm: nn.BatchNorm2d) -> bool:
    if norm.running_var is None:
        return False
    deviation = (norm.running_var + norm.eps).sqrt()
    scale = 1 / deviation if norm.weight is None else norm.weight.detach() / deviation
    return _mostly_one(scale) or _mostly_one(norm.running_var)


def _mostly_one(values: Tensor) -> bool:
    return float(((values - 1).abs() <= _NEAR).float().mean()) > _MOST


def _is_initial(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    ones, zeros = (norm.weight, norm.running_var), (norm.bias, norm.running_mean, convolution.bias)
    return all(t is None or bool((t == 1).all()) for t in ones) and not any(
        t is not None and bool(t.any()) for t in zeros
    )
