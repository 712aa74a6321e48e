"""Attention of query cells over the foreground cells of all supports, as nodes of one graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.host import may_look


def foreground_cells(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (..., H, W) bool at feature resolution (..., h, w); none vanishes.

    A cell has its nearest pixel. Where a mask that has any pixel loses them all, the cell in which it covers the
    largest area is kept. An empty mask stays empty.
    """
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()
    cells = F.interpolate(flat, size=size, mode="nearest").flatten(1) > 0
    area = F.adaptive_avg_pool2d(flat, size).flatten(1)
    largest = torch.zeros_like(cells).scatter_(1, area.argmax(dim=1, keepdim=True), True)
    lost = (area.amax(dim=1) > 0) & ~cells.any(dim=1)
    return torch.where(lost[:, None], largest, cells).reshape(*masks.shape[:-2], *size)


class Nodes(NamedTuple):
    """Which support cells are nodes: S places an episode, of which some may be left empty.

    On the CPU S is the number of nodes of the episode with most, at least 1. On a GPU, where nobody may look at that
    number without a wait, S is K * h * w, and each cell has its own place: 14,045 at 5 shots and 53 x 53 cells, so that
    scores of as many query cells take 158 MB an episode in float32.
    """

    places: Tensor | None
    """(B, S) int64: places among the K * h * w cells of an episode, ascending where they are real; None: all cells."""
    real: Tensor
    """(B, S) bool: False where an episode has fewer nodes; such a place must count nowhere."""

    def of(self, cells: Tensor) -> Tensor:
        """What cells (B, K * h * w) or (B, K * h * w, C) have at the places: (B, S) or (B, S, C)."""
        if self.places is None:
            return cells
        index = self.places if cells.ndim == 2 else self.places[..., None].expand(-1, -1, cells.shape[2])
        return cells.gather(1, index)


def nodes_of(cells: Tensor) -> Nodes:
    """The chosen cells (B, K, h, w) bool of all shots of an episode as one list."""
    flat = cells.flatten(1)
    if not may_look(flat):
        return Nodes(None, flat)
    count = max(1, int(flat.sum(dim=1).max()))
    order = flat.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
    return Nodes(order, flat.gather(1, order))


def take(features: Tensor, nodes: Nodes) -> Tensor:
    """Features (B, K, C, h, w) of the nodes: (B, S, C). Differentiable in ``features``."""
    return nodes.of(features.permute(0, 1, 3, 4, 2).flatten(1, 3))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where ``mask`` (bool, broadcast) holds; 0 elsewhere, and in rows without any."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1) * mask


def attend(scores: Tensor, values: Tensor, real: Tensor) -> Tensor:
    """What each query cell reads: sum_j softmax_j(scores_ij) v_j over real nodes j.

    Args:
        scores: (B, Q, S) of any sign, one row a query cell.
        values: (B, S, C), v.
        real: (B, S) bool.

    Returns:
        (B, Q, C) in the values' dtype; 0 for an episode without real nodes.
    """
    full = scores.float() if scores.dtype in {torch.float16, torch.bfloat16} else scores
    return masked_softmax(full, real[:, None]).to(values.dtype) @ values
