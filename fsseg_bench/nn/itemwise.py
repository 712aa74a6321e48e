"""Head operations that give the same bits for an episode whatever else is in its batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_ALIGNMENT = 64
"""Bytes. MKL's matrix-vector products round differently for other alignments (seen with torch 2.15)."""


def itemwise(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a batched tensor function batch-invariant on CPU, and keeps it out of autocast.

    Positional arguments are tensors whose first axis is the batch; keyword arguments are shared by all items.
    The result is a tensor or a NamedTuple of tensors, batch first. On CPU the function runs on one item at a
    time, on contiguous and aligned memory: the order of summation in reductions and matrix products, and which
    elements a vectorised exponential treats as its tail, would otherwise depend on the batch size. On other
    devices it runs on the whole batch. Half-precision inputs become float32.
    """

    @functools.wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> R:
        tensors: list[Tensor] = [_full_precision(_tensor(arg)) for arg in args]
        batch, device = tensors[0].shape[0], tensors[0].device.type
        call: Callable[..., Any] = function
        with torch.autocast(device, enabled=False):
            if device != "cpu":
                result = call(*tensors, **options)
            else:
                items = [call(*(_own(t[b : b + 1]) for t in tensors), **options) for b in range(batch)]
                result = items[0] if batch == 1 else _join(items)
        joined: R = result
        return joined

    return run


def _tensor(arg: Any) -> Tensor:
    if not isinstance(arg, Tensor):
        raise TypeError(f"a head operation takes tensors as positional arguments, not {type(arg).__name__}")
    return arg


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def _own(item: Tensor) -> Tensor:
    """``item`` in row-major order at an aligned address, copied only where it is not."""
    item = item.contiguous(memory_format=torch.contiguous_format)
    return item if item.data_ptr() % _ALIGNMENT == 0 else item.clone(memory_format=torch.contiguous_format)


def _join(items: list[Any]) -> Any:
    if isinstance(items[0], Tensor):
        return torch.cat(items)
    return type(items[0])(*(torch.cat(parts) for parts in zip(*items, strict=True)))
