"""The share of each feature cell that a mask covers, where cells tile the image."""

from __future__ import annotations

import torch
from torch import Tensor

from fsseg_bench.nn.host import sent


def cell_shares(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Means of masks over cells, pixels that lie in several cells counted by the part that lies in each.

    Args:
        masks: (..., H, W) float or bool.
        grid: (h, w), cells of H / h by W / w pixels, whole or not.

    Returns:
        (..., h, w) float, in [0, 1] for masks in [0, 1].

    Example:
        Three pixels in two cells: half of the middle one lies in each.

        >>> cell_shares(torch.tensor([[1.0, 1.0, 0.0]]), (1, 2))
        tensor([[1.0000, 0.3333]])
    """
    weights = masks if masks.is_floating_point() else masks.float()
    rows, columns = (_overlaps(side, cells, weights) for side, cells in zip(weights.shape[-2:], grid, strict=True))
    return rows @ weights @ columns.mT


def _overlaps(pixels: int, cells: int, like: Tensor) -> Tensor:
    """(cells, pixels): which part of each cell is the pixel's."""
    size = pixels / cells
    pixel = torch.arange(pixels, dtype=torch.float64)
    cell = torch.arange(cells, dtype=torch.float64)[:, None] * size
    shared = torch.minimum(cell + size, pixel + 1) - torch.maximum(cell, pixel)
    return sent((shared.clamp_min(0) / size).to(like.dtype), like.device)
