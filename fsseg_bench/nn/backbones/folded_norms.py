"""Batch-norms without statistics of their own: what folding them into convolutions leaves in a file of weights."""

from __future__ import annotations

from torch import Tensor, nn

from fsseg_bench.nn.backbones.folding import convolutions_with_norms

_NEAR = 1e-3  # to 1; no trained layer has most of its channels so near
_MOST = 0.5


def folded_norms(network: nn.Module) -> tuple[str, ...]:
    """Names of the batch-norms that were folded into the convolutions before them.

    Such a layer multiplies by 1, or states the variance 1, in most channels, whatever the convolution gives: in place
    of its statistics those of a batch would change the features. A layer as it is initialised, with no shift in its
    convolution either, was never trained and is no folded one.

    Args:
        network: filled with weights.
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
