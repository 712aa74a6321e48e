"""Prototypes of support images and cosine scores of query cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.pooling import MapRes, masked_average

NORM_FLOOR = 1e-8
"""Norms are never taken below this, so that a zero prototype has cosine 0 with everything."""


class ImagePrototypes(NamedTuple):
    """Prototypes of each support image."""

    background: Tensor
    """(B, N, K, C)."""
    foreground: Tensor
    """(B, N, K, C)."""


def image_prototypes(
    features: Tensor,
    masks: Tensor,
    *,
    map_res: MapRes = "adjoint",
    align_corners: bool = False,
    void_in_bg: bool = False,
) -> ImagePrototypes:
    """Masked averages of each support image.

    Args:
        features: (B, N, K, C, h, w) float.
        masks: (B, N, K, H, W) uint8: 1 the way's class, 0 no class of the episode, 255 void or another way.
        map_res: see :func:`fsseg_bench.nn.pooling.masked_average`.
        align_corners: of every bilinear resizing.
        void_in_bg: whether void pixels count as background.

    Returns:
        Zero vectors where a mask is empty.

    Raises:
        UserError: ``void_in_bg`` with several ways, whose masks do not tell void from another way's pixels.
    """
    parts = torch.stack((background_mask(masks, void_in_bg), masks == 1), dim=3)
    averages = masked_average(
        features.flatten(0, 2), parts.flatten(0, 2), map_res=map_res, align_corners=align_corners
    ).reshape(*masks.shape[:3], 2, -1)
    return ImagePrototypes(background=averages[..., 0, :], foreground=averages[..., 1, :])


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


@itemwise
def combine(background: Tensor, foreground: Tensor) -> Tensor:
    """Class prototypes (B, N+1, C), background first, from those of the images (B, N, K, C).

    A way's prototype is the mean over its K shots; the background's is the mean over all N * K images.
    """
    return torch.cat((background.mean(dim=(1, 2))[:, None], foreground.mean(dim=2)), dim=1)


def support_prototypes(
    features: Tensor,
    masks: Tensor,
    *,
    map_res: MapRes = "adjoint",
    align_corners: bool = False,
    void_in_bg: bool = False,
) -> Tensor:
    """Class prototypes (B, N+1, C), background first; arguments and errors as :func:`image_prototypes`."""
    images = image_prototypes(features, masks, map_res=map_res, align_corners=align_corners, void_in_bg=void_in_bg)
    return combine(images.background, images.foreground)


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
