"""Several tensors between host and device in one copy: many small ones cost a GPU more than their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fsseg_bench.engine.device import backend_of


def send(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of the host, all of one dtype, on the device; without a wait."""
    backend = backend_of(device)
    if not backend.is_gpu:
        return list(tensors)
    flat = backend.to_device(torch.cat([tensor.flatten() for tensor in tensors]), device)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def fetch(tensors: Sequence[Tensor], device: torch.device) -> Callable[[], list[Tensor]]:
    """Begins to copy tensors of the device to the host; what it returns gives the copies, and waits for them alone.

    On the CPU the tensors themselves are given: do not write into them meanwhile.
    """
    backend = backend_of(device)
    if not backend.is_gpu:
        return lambda: list(tensors)
    kinds = [(tensor.shape, tensor.dtype) for tensor in tensors]
    parts = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    sizes = [part.numel() for part in parts]
    arriving = backend.to_host(torch.cat(parts))

    def arrived() -> list[Tensor]:
        # cloned, since a wider type may not begin at any byte; and the pinned memory is free for the next copy
        pieces = [piece.clone() for piece in arriving().split(sizes)]
        return [piece.view(dtype).view(shape) for piece, (shape, dtype) in zip(pieces, kinds, strict=True)]

    return arrived
