"""INSID3's steps on one query: support cells, prototype, candidates, seed, and the score of each cluster.

f are cells of unit length, f' the same without the positional directions. Matching and the choice of the seed read f',
clusters and the likeness of clusters to the seed read f.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import VOID
from fsseg_bench.nn.bilinear import resize

_EPS = 1e-12
_QUANTILE = 0.9  # of the similarities to the prototype, above which a cell is taken where none is positive


class Shot(NamedTuple):
    """One support of a way."""

    cells: Tensor
    """(C, M) f', its grid in row-major order."""
    object_: Tensor
    """(M,) bool: where it shows the class; nowhere where its mask is empty."""
    labelled: Tensor
    """(M,) bool: what a query cell is compared with."""


class Candidates(NamedTuple):
    """Which cells of a query may be of the class, by two rules."""

    prototype: Tensor
    """(C,) f' of the supports' cells, of unit length; 0 where no support shows the class."""
    forward: Tensor
    """(N,) cosines of f' and the prototype."""
    forward_mask: Tensor
    """(N,) bool: the first rule."""
    votes: Tensor
    """(N,) int64: the supports of which the cell's nearest cell is the class's."""
    chosen: Tensor
    """(N,) bool: both rules."""


class ClusterScores(NamedTuple):
    """What is known of each of G clusters of a query, for one way."""

    prototypes: Tensor
    """(G, C) the mean of f in each, of unit length."""
    debiased: Tensor
    """(G, C) the same of f'."""
    similarity: Tensor
    """(G,) of the debiased one to the way's prototype: what the seed is chosen by."""
    seed: Tensor
    """() int64: of the clusters with a candidate the one most like the prototype; of no meaning where there is none."""
    cross: Tensor
    """(G,) the mean cosine of a cluster's cells to the prototype."""
    intra: Tensor
    """(G,) cosine of the cluster's f to the seed's."""
    area: Tensor
    """(G,) the share of its cells that are candidates; 1 for the seed."""
    score: Tensor
    """(G,) cross * intra * area; 0 everywhere where there is no candidate."""


def support_shot(cells: Tensor, mask: Tensor, grid: tuple[int, int], void_in_bg: bool) -> Shot:
    """A support's cells (C, M) with its mask (H, W) uint8 on their ``grid``."""
    object_ = object_cells(mask == 1, grid)
    void = resize((mask == VOID).to(cells.dtype), grid) > 0.5
    labelled = torch.ones_like(object_) if void_in_bg else ~void | object_
    return Shot(cells, object_.flatten(), labelled.flatten())


def object_cells(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cells of a mask (H, W) bool that show the object: (h, w) bool.

    Bilinear and more than one half; where that leaves nothing the nearest pixel; where that does not either, the one
    cell of the mask's mean position.
    """
    h, w = grid
    height, width = mask.shape
    smooth = resize(mask.float(), grid) > 0.5
    nearest = F.interpolate(mask.float()[None, None], size=grid, mode="nearest")[0, 0] > 0.5
    count = mask.sum().clamp_min(1)
    # whole numbers, so that no mean position is rounded over the edge of a cell, whose sides need not be whole pixels
    rows, columns = (torch.arange(side, device=mask.device) for side in (height, width))
    row = (mask.sum(dim=1) * rows).sum() * h // (count * height)
    column = (mask.sum(dim=0) * columns).sum() * w // (count * width)
    places = torch.arange(h * w, device=mask.device).view(h, w)
    middle = (places == row * w + column) & mask.any()
    return torch.where(smooth.any(), smooth, torch.where(nearest.any(), nearest, middle))


def find_candidates(cells: Tensor, shots: Sequence[Shot]) -> Candidates:
    """The cells of a query, f' (C, N), that may show what the shots show; those that show nothing are left out."""
    shown = torch.stack([shot.object_.any() for shot in shots])
    means = [shot.cells @ (o := shot.object_.to(cells.dtype)) / o.sum().clamp_min(1) for shot in shots]
    prototype = F.normalize(torch.stack(means).sum(dim=0) / shown.sum().clamp_min(1), dim=0, eps=_EPS)
    forward = cells.mT @ prototype
    positive = forward > 0
    highest = forward > _quantile(forward, _QUANTILE)
    forward_mask = torch.where(positive.any(), positive, highest)
    votes = torch.stack([_vote(cells, shot) for shot in shots]).sum(dim=0)
    enough = 2 * votes >= shown.sum()
    return Candidates(prototype, forward, forward_mask, votes, forward_mask & enough & shown.any())


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of values (N,), between the two that are nearest; ``torch.quantile`` would make a GPU wait."""
    ordered = values.sort().values
    place = float(np.float32(share)) * (len(values) - 1)  # as there: equal to the last bit
    low = int(place)
    return torch.lerp(ordered[low], ordered[min(low + 1, len(values) - 1)], place - low)


def _vote(cells: Tensor, shot: Shot) -> Tensor:
    """Of which query cells the nearest labelled cell of a shot, the first of equal ones, is the object's: (N,) int64.

    N x M similarities are in memory at once: 64 MiB for 4,096 cells each.
    """
    similarity = (cells.mT @ shot.cells).masked_fill_(~shot.labelled, -torch.inf)
    return shot.object_[similarity.argmax(dim=1)].long()


def score_clusters(
    cells: Tensor, debiased: Tensor, labels: Tensor, count: int, candidates: Candidates
) -> ClusterScores:
    """The scores of ``count`` clusters, ``labels`` (N,), of a query's cells f and f', (C, N) each."""
    sizes = _sums(torch.ones_like(labels), labels, count)
    prototypes, without = (F.normalize(_sums(one.mT, labels, count), dim=1, eps=_EPS) for one in (cells, debiased))
    similarity = without @ candidates.prototype
    inside = _sums(candidates.chosen.long(), labels, count)
    seed = similarity.masked_fill(inside == 0, -torch.inf).argmax()
    intra = prototypes @ prototypes.index_select(0, seed[None])[0]
    is_seed = torch.arange(count, device=labels.device) == seed
    area = torch.where(is_seed, 1.0, inside / sizes)
    cross = _sums(candidates.forward, labels, count) / sizes
    score = torch.where(candidates.chosen.any(), cross * intra * area, 0.0)
    return ClusterScores(prototypes, without, similarity, seed, cross, intra, area, score)


def _sums(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """The sums of values (N, ...) by cluster: (count, ...)."""
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, labels, values)
