"""Adaptive average pooling with a backward pass that every device can repeat bit by bit."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_average(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``F.adaptive_avg_pool2d``: (..., h, w) to (..., *size), as two matrices."""
    h, w = maps.shape[-2:]
    if (h, w) == size:
        return maps
    down, across = (_averages(n, m, maps.dtype, maps.device) for n, m in ((h, size[0]), (w, size[1])))
    return down.mT @ (maps @ across)


@lru_cache(maxsize=64)
def _averages(cells: int, bins: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, bins) weights along one axis, taken from PyTorch's own."""
    # a tensor made in inference mode could not be saved for a later backward pass
    with torch.inference_mode(False), torch.no_grad():
        basis = torch.eye(cells, dtype=dtype, device=device)
        return F.adaptive_avg_pool1d(basis, bins)
