"""Masked averages, prototypes of support images and cosine scores of query cells.

The published methods upsample the features to the mask and average there: P = sum_x m_x (U F)_x / (sum m + eps).
Since U is linear, P = sum_u (U^T m)_u F_u / (sum m + eps): the mask is pulled back through the adjoint of the
upsampling, and no full-size feature map exists.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.bilinear import pull_back, resize
from fsseg_bench.nn.itemwise import itemwise

MapRes = Literal["adjoint", "nearest", "bilinear"]
"""How mask and features meet: ``adjoint`` equals upsampling the features; the others downsample the mask."""

EPS = 1e-5
"""Added to the mask's total, so that an empty mask gives a zero prototype."""
NORM_FLOOR = 1e-8
"""Norms are never taken below this, so that a zero prototype has cosine 0 with everything."""


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


def background_mask(masks: Tensor, void_in_bg: bool = False) -> Tensor:
    """Support masks (B, N, K, H, W) uint8 as bool: the pixels of the background.

    Raises:
        UserError: ``void_in_bg`` with several ways, whose masks do not tell void from another way's pixels.
    """
    if not void_in_bg:
        return masks == 0
    if masks.shape[1] > 1:
        raise UserError(
            f"void_in_bg=true with {masks.shape[1]} ways: the support masks do not tell void pixels from pixels of "
            "another way; use --way 1 or void_in_bg=false"
        )
    return masks != 1


def support_prototypes(
    features: Tensor,
    masks: Tensor,
    *,
    map_res: MapRes = "adjoint",
    align_corners: bool = False,
    void_in_bg: bool = False,
) -> Tensor:
    """Class prototypes (B, N+1, C), background first: means over images of the masked averages of each.

    A way's prototype is the mean over its K shots; the background's is the mean over all N * K images.

    Args:
        features: (B, N, K, C, h, w) float.
        masks: (B, N, K, H, W) uint8: 1 the way's class, 0 no class of the episode, 255 void or another way.
        map_res: see :func:`masked_average`.
        align_corners: of every bilinear resizing.
        void_in_bg: whether void pixels count as background.

    Returns:
        Zero vectors where all masks are empty.

    Raises:
        UserError: ``void_in_bg`` with several ways, whose masks do not tell void from another way's pixels.
    """
    parts = torch.stack((background_mask(masks, void_in_bg), masks == 1), dim=3)
    averages = masked_average(
        features.flatten(0, 2), parts.flatten(0, 2), map_res=map_res, align_corners=align_corners
    ).reshape(*masks.shape[:3], 2, -1)
    return _combine(averages[..., 0, :], averages[..., 1, :])


@itemwise
def _combine(background: Tensor, foreground: Tensor) -> Tensor:
    """Prototypes (B, N+1, C) from those of the images (B, N, K, C)."""
    return torch.cat((background.mean(dim=(1, 2))[:, None], foreground.mean(dim=2)), dim=1)


class UnitCells(NamedTuple):
    """Feature cells split into direction and length."""

    cells: Tensor
    """(B, C, h, w), each cell of norm 1 (or 0, where the feature is 0)."""
    norms: Tensor
    """(B, h, w), the norms before."""


def norms(vectors: Tensor, dim: int) -> Tensor:
    """Euclidean norms along ``dim`` (kept, with size 1), not below ``NORM_FLOOR``."""
    # sum of squares: vector_norm over a strided axis is ten times slower on CPU, and its gradient at 0 is NaN
    return (vectors * vectors).sum(dim=dim, keepdim=True).clamp_min(NORM_FLOOR**2).sqrt()


def unit(vectors: Tensor, dim: int) -> Tensor:
    """``vectors`` divided by their norms along ``dim``; zero vectors stay zero."""
    return vectors / norms(vectors, dim)


@itemwise
def unit_cells(features: Tensor) -> UnitCells:
    """Features (B, C, h, w) scaled to norm 1 in each cell, and the norms they had."""
    lengths = norms(features, dim=1)
    return UnitCells(features / lengths, lengths.squeeze(1))


@itemwise
def cosine_scores(unit_features: Tensor, prototypes: Tensor, *, alpha: float = 20.0) -> Tensor:
    """alpha * cos(cell, prototype) for cells of norm 1.

    Args:
        unit_features: (B, C, h, w) from :func:`unit_cells`.
        prototypes: (B, G, C) of any norm.
        alpha: the temperature's inverse, 20 in PANet and BiOpt.

    Returns:
        (B, G, h, w) in [-alpha, alpha]; 0 for a zero prototype.

    Example:
        One cell that points along the first of two prototypes.

        >>> cell = unit_cells(torch.tensor([[[[3.0]], [[0.0]]]])).cells
        >>> cosine_scores(cell, torch.tensor([[[5.0, 0.0], [0.0, 1.0]]])).flatten()
        tensor([20.,  0.])
    """
    scores = unit(prototypes, dim=2) @ unit_features.flatten(2)
    return alpha * scores.reshape(*scores.shape[:2], *unit_features.shape[-2:])


@itemwise
def assigned(scores: Tensor) -> Tensor:
    """Scores (B, G, h, w) as one-hot maps of their largest class, same shape and dtype; no gradient."""
    hard = torch.zeros_like(scores)
    return hard.scatter_(1, scores.detach().argmax(dim=1, keepdim=True), 1.0)
