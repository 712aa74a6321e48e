"""PFENet's prior and head rendered step by step from their specification, beside the method's own.

Episode by episode and shot by shot: the prior by the whole matrix of cosines, also with the cells that no object
touches; inputs of convolutions repeated and joined; PyTorch's adaptive average pools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_methods._prior import AREA_EPS, cell_weights, prior_masks, support_vectors
from fsseg_methods.pfenet import Pyramid, bin_sizes

BINS = (1.0, 0.5, 0.25, 0.125)
STRIDE = 8
DEEP = 2048
"""Channels of a ResNet-50's deepest stage."""
_EPS = 1e-7


@dataclass(frozen=True)
class Read:
    """Random features of episodes, as the method's encoder leaves them."""

    query: Tensor
    """(B, width, h, w), embedded."""
    query_deep: Tensor
    """(B, C, h, w) >= 0."""
    support: Tensor
    """(B, K, width, h, w), embedded."""
    support_deep: Tensor
    """(B, K, C, h, w) >= 0."""
    masks: Tensor
    """(B, K, H, W) uint8."""


def ways(size: int, batch: int, shots: int, width: int = 256, deep: int = DEEP) -> dict[str, Callable[[], Tensor]]:
    """Logits of random features: step by step, and as the method does."""
    pyramid = Pyramid(width, len(BINS), dropout=0.1).eval()
    read = features(size, batch, shots, width, deep)
    return {"step by step": partial(naive, pyramid, read), "the method's": partial(own, pyramid, read)}


def features(size: int, batch: int, shots: int, width: int, deep: int) -> Read:
    """Of images of ``size`` pixels a side, at stride 8; the object is a fourth of a support's sides."""
    side = -(-size // STRIDE)
    masks = torch.zeros(batch, shots, size, size, dtype=torch.uint8)
    masks[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return Read(
        torch.randn(batch, width, side, side).relu(),
        torch.randn(batch, deep, side, side).relu(),
        torch.randn(batch, shots, width, side, side).relu(),
        torch.randn(batch, shots, deep, side, side).relu(),
        masks,
    )


def own(pyramid: Pyramid, read: Read) -> Tensor:
    """As the method computes it: (B, 2, h, w)."""
    weights = cell_weights(read.masks, read.support)
    vectors = support_vectors(read.support, weights)
    priors = prior_masks(read.query_deep, read.support_deep, weights)
    cells = (read.query.shape[2], read.query.shape[3])
    branches = pyramid(read.query, vectors.mean(dim=1), priors.mean(dim=1, keepdim=True), bin_sizes(BINS, cells))
    return pyramid.fuse(branches, cells)


def naive(pyramid: Pyramid, read: Read) -> Tensor:
    """The same, one episode after the other."""
    logits = []
    for b in range(len(read.query)):
        vectors, priors = [], []
        for k in range(read.masks.shape[1]):
            weights = resized((read.masks[b : b + 1, k : k + 1] == 1).float(), read.support.shape[-2:])
            vectors.append((read.support[b, k] * weights[0]).sum(dim=(1, 2)) / (weights.sum() + AREA_EPS))
            priors.append(prior(read.query_deep[b], read.support_deep[b, k] * weights[0]))
        vector, mean = torch.stack(vectors).mean(dim=0), torch.stack(priors).mean(dim=0)
        logits.append(head(pyramid, read.query[b : b + 1], vector[None, :, None, None], mean[None, None]))
    return torch.cat(logits)


def prior(query: Tensor, support: Tensor) -> Tensor:
    """Of a query (C, h, w) and one masked support (C, h', w'): (h, w)."""
    seen, shown = query.flatten(1), support.flatten(1)
    norms = seen.norm(dim=0)[:, None] * shown.norm(dim=0)[None]
    best = (seen.T @ shown / (norms + _EPS)).amax(dim=1)
    scaled: Tensor = (best - best.min()) / (best.max() - best.min() + _EPS)
    return scaled.view(query.shape[1:])


def head(pyramid: Pyramid, query: Tensor, vector: Tensor, mean: Tensor) -> Tensor:
    """Of one query (1, width, h, w), a vector (1, width, 1, 1) and a prior (1, 1, h, w): logits (1, 2, h, w)."""
    cells = query.shape[-2:]
    branches: list[Tensor] = []
    for place, side in enumerate(BINS):
        size = (int(cells[0] * side), int(cells[1] * side))
        pooled = F.adaptive_avg_pool2d(query, size)
        parts = (pooled, vector.expand(-1, -1, *size), resized(mean, size))
        merged = pyramid.merge[place].joined(torch.cat(parts, dim=1)).relu()  # type: ignore[operator]
        if place:
            finer = resized(resized(branches[-1], cells), size)
            merged = merged + pyramid.enrich[place - 1](torch.cat((merged, finer), dim=1))
        branches.append(pyramid.refine[place](merged))
    together = torch.cat([resized(branch, cells) for branch in branches], dim=1)
    logits: Tensor = pyramid.classify(pyramid.refine_joined(pyramid.join(together)))
    return logits


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners aligned."""
    return F.interpolate(maps, list(size), mode="bilinear", align_corners=True)
