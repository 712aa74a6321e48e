"""Bilinear resizing and its adjoint, as two small matrices an axis pair.

Resizing a map X of h x w cells to H x W is A_h X A_w^T, with one (H, h) and one (W, w) matrix of interpolation
weights. The adjoint (what autograd computes backwards) is A_h^T Y A_w. Both forms are deterministic on every
device, which the backward of ``torch.nn.functional.interpolate`` is not.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Maps (..., h, w) as (..., H, W) for ``size`` = (H, W), like bilinear ``interpolate`` without antialiasing.

    Example:
        >>> resize(torch.tensor([[0.0, 3.0]]), (1, 4), align_corners=True).round(decimals=4)
        tensor([[0., 1., 2., 3.]])
    """
    h, w = maps.shape[-2:]
    if (h, w) == size:
        return maps
    down = _weights(h, size[0], align_corners, maps.dtype, maps.device)
    across = _weights(w, size[1], align_corners, maps.dtype, maps.device)
    return down.mT @ (maps @ across)


def pull_back(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """The adjoint of resizing ``size`` = (h, w) to the maps' size: maps (..., H, W) to (..., h, w).

    For all X and Y: sum(resize(X) * Y) = sum(X * pull_back(Y)).
    """
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    down = _weights(size[0], height, align_corners, maps.dtype, maps.device)
    across = _weights(size[1], width, align_corners, maps.dtype, maps.device)
    return down @ (maps @ across.mT)


@lru_cache(maxsize=256)
def _weights(cells: int, pixels: int, align_corners: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, pixels) weights of linear interpolation along one axis, taken from PyTorch's own."""
    # a tensor made in inference mode could not be saved for a later backward pass
    with torch.inference_mode(False), torch.no_grad():
        basis = torch.eye(cells, dtype=dtype, device=device)
        return F.interpolate(basis[None], size=pixels, mode="linear", align_corners=align_corners)[0]
