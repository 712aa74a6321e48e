"""Batch-norms of an encoder whose batch is spread over processes: normalised by the whole batch, as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def shared_norms(method: nn.Module, processes: Any) -> Iterator[None]:
    """Within it the method's batch-norms that normalise by the batch take that of all ``processes``, a group of
    ``torch.distributed``; each must call them in the same order."""
    norms = [module for module in method.modules() if isinstance(module, _BatchNorm) and _by_batch(module)]
    for norm in norms:
        norm.forward = partial(_forward, norm, processes)  # type: ignore[method-assign]  # of this one alone
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _by_batch(norm: _BatchNorm) -> bool:
    return norm.training or norm.running_mean is None


def _forward(norm: _BatchNorm, processes: Any, images: Tensor) -> Tensor:
    """What ``norm`` makes of the share (m, C, ...); its running statistics move as those of one process."""
    normal, mean, variance, count = _Normalised.apply(images.float(), norm.eps, processes)
    if norm.training and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            weight = 1.0 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
            norm.running_mean.add_(weight * (mean - norm.running_mean))
            norm.running_var.add_(weight * (variance * (count / (count - 1)) - norm.running_var))
    if norm.affine:
        normal = normal * _by_channel(norm.weight, normal) + _by_channel(norm.bias, normal)
    result: Tensor = normal.to(images.dtype)
    return result


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


class _Normalised(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps), with both taken over the shares (m, C, ...) of all processes.

    With g the gradient of y and means over the same elements, that of x is
    (g - mean(g) - y mean(g y)) / sqrt(variance + eps).
    """

    @staticmethod
    def forward(ctx: Any, share: Tensor, eps: float, processes: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        others = [axis for axis in range(share.dim()) if axis != 1]
        own = share.new_full((1,), share.numel() // share.shape[1])
        sums = torch.cat((share.sum(others), own))
        dist.all_reduce(sums, group=processes)
        count = sums[-1]
        mean = sums[:-1] / count
        centred = share - _by_channel(mean, share)
        squares = centred.square().sum(others)
        dist.all_reduce(squares, group=processes)
        variance = squares / count
        scale = (variance + eps).rsqrt()
        normal = centred * _by_channel(scale, share)
        ctx.save_for_backward(normal, scale, count)
        ctx.others, ctx.processes = others, processes
        ctx.mark_non_differentiable(mean, variance, count)
        return normal, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        normal, scale, count = ctx.saved_tensors
        sums = torch.stack((gradient.sum(ctx.others), (gradient * normal).sum(ctx.others)))
        dist.all_reduce(sums, group=ctx.processes)
        along, across = sums / count
        inner = gradient - _by_channel(along, normal) - normal * _by_channel(across, normal)
        return inner * _by_channel(scale, normal), None, None
