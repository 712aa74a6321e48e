"""Masked average pooling at feature resolution.

The published methods upsample the features to the mask and average there: P = sum_x m_x (U F)_x / (sum m + eps).
Since U is linear, P = sum_u (U^T m)_u F_u / (sum m + eps): the mask is pulled back through the adjoint of the
upsampling, and no full-size feature map exists.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.bilinear import pull_back, resize
from fsseg_bench.nn.itemwise import itemwise

MapRes = Literal["adjoint", "nearest", "bilinear"]
"""How mask and features meet: ``adjoint`` equals upsampling the features; the others downsample the mask."""

EPS = 1e-5
"""Added to the mask's total, so that an empty mask gives a zero prototype."""


@itemwise
def masked_average(
    features: Tensor,
    masks: Tensor,
    *,
    map_res: MapRes = "adjoint",
    align_corners: bool = False,
    eps: float = EPS,
) -> Tensor:
    """The mean feature under each mask.

    Args:
        features: (B, C, h, w) float.
        masks: (B, G, H, W) float weights >= 0; every pixel that must not count (void) is 0.
        map_res: ``adjoint`` (features upsampled), ``nearest`` or ``bilinear`` (mask downsampled).
        align_corners: of every bilinear resizing.
        eps: added to the denominator, in pixels of the mask (in cells where the mask is downsampled).

    Returns:
        (B, G, C); 0 where a mask is empty. Differentiable in ``features``.

    Example:
        A map of 1 channel and 1 x 2 cells, under one mask of the same size that shows the second cell.

        >>> import torch
        >>> masked_average(torch.tensor([[[[2.0, 6.0]]]]), torch.tensor([[[[0, 1]]]]), eps=0.0)
        tensor([[[6.]]])
    """
    weights, totals = _cell_weights(masks.to(features.dtype), features.shape[-2:], map_res, align_corners)
    sums = weights.flatten(2) @ features.flatten(2).mT
    return sums / (totals + eps)[..., None]


def _cell_weights(masks: Tensor, size: tuple[int, ...], map_res: MapRes, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Weights (B, G, h, w) of the cells and their denominators (B, G)."""
    cells = (size[0], size[1])
    if map_res == "adjoint":
        return pull_back(masks, cells, align_corners), masks.sum(dim=(2, 3))
    if map_res == "nearest":
        weights = F.interpolate(masks, size=cells, mode="nearest")
    else:
        weights = resize(masks, cells, align_corners)
    return weights, weights.sum(dim=(2, 3))
