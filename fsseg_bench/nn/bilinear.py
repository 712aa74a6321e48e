"""Bilinear resizing, its adjoint and upsampling by transposed convolution, as two small matrices an axis pair.

Resizing a map X of h x w cells to H x W is A_h X A_w^T, with one (H, h) and one (W, w) matrix of interpolation
weights. The adjoint (what autograd computes backwards) is A_h^T Y A_w. Both forms are deterministic on every
device, which the backward of ``torch.nn.functional.interpolate`` is not.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.host import sent


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


def transposed_bilinear(maps: Tensor, stride: int, size: tuple[int, int], offset: int = 0) -> Tensor:
    """Maps upsampled by ``stride`` with the bilinear kernel of side 2 * stride, cut to a window.

    Equals ``F.conv_transpose2d`` without padding, with that kernel on each channel by itself, cropped (Long, Shelhamer,
    Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015). Cell (u, v) paints the kernel
    w[i, j] = (1 - abs(i - c)/s) (1 - abs(j - c)/s) with c = s - 1/2, i, j = 0 .. 2s-1, from pixel (s u, s v) on;
    overlapping kernels add up. Near the border fewer overlap: without a crop the outermost pixels fade towards 0.

    Args:
        maps: (..., h, w) float.
        stride: s >= 1, pixels a cell; 32 (kernel 64) in FCN-32s.
        size: (H, W) of the result.
        offset: row and column of the whole map at which the window begins, >= 0.

    Returns:
        (..., H, W), of the maps' dtype; float32 for half precision, also under autocast.

    Raises:
        ValueError: stride, size or offset is below its range, or the window does not lie inside the whole map
            of (h + 1) * s by (w + 1) * s pixels.
    """
    if stride < 1 or offset < 0 or min(size) < 1:
        raise ValueError(f"stride {stride}, size {size}, offset {offset}: must be at least 1, 1 and 0")
    for cells, pixels in zip(maps.shape[-2:], size, strict=True):
        # kernels of side 2 s laid every s pixels reach over (h - 1) s + 2 s pixels: one stride more than the cells
        if offset + pixels > (cells + 1) * stride:
            raise ValueError(
                f"{pixels} pixels from pixel {offset} on do not lie inside the {(cells + 1) * stride} pixels that "
                f"{cells} cells of stride {stride} give"
            )
    with torch.autocast(maps.device.type, enabled=False):
        full = maps.float() if maps.dtype in {torch.float16, torch.bfloat16} else maps
        down = _triangles(full.shape[-2], stride, size[0], offset, full.dtype, full.device)
        across = _triangles(full.shape[-1], stride, size[1], offset, full.dtype, full.device)
        return down.mT @ (full @ across)


@lru_cache(maxsize=256)
def _weights(cells: int, pixels: int, align_corners: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, pixels) weights of linear interpolation along one axis, taken from PyTorch's own."""
    # a tensor made in inference mode could not be saved for a later backward pass
    with torch.inference_mode(False), torch.no_grad():
        basis = torch.eye(cells, dtype=dtype, device=device)
        return F.interpolate(basis[None], size=pixels, mode="linear", align_corners=align_corners)[0]


@lru_cache(maxsize=64)
def _triangles(cells: int, stride: int, pixels: int, offset: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, pixels) weights of one axis: the triangle of each cell at each pixel of the window."""
    # a tensor made in inference mode could not be saved for a later backward pass
    with torch.inference_mode(False), torch.no_grad():
        pixel = torch.arange(offset, offset + pixels, dtype=torch.float64)
        # a kernel of even side has its centre between two pixels, hence the half
        centre = torch.arange(cells, dtype=torch.float64)[:, None] * stride + stride - 0.5
        return sent((1 - (pixel - centre).abs() / stride).clamp_min(0).to(dtype), device)
