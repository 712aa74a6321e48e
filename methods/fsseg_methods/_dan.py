"""DAN's parts: attention whose dominant nodes are damped by their rank, and a decoder from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fsseg_bench.nn.attention import attend, nodes_of, take
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import conv_block, start
from fsseg_bench.nn.itemwise import itemwise

SignRule = Literal["relu", "shift", "signed"]
"""What is re-weighted: ``relu`` max(A, 0); ``shift`` A less its row's minimum; ``signed`` A itself, where a larger
factor raises positive entries and lowers negative ones."""


def rank_factors(importance: Tensor, real: Tensor) -> Tensor:
    """r_j / (N + 1), with N the number of real nodes and r_j a node's place in descending order of importance.

    Args:
        importance: (B, S) finite. Of equal nodes the earlier comes first.
        real: (B, S) bool; nodes that are not real come after all others.

    Returns:
        (B, S) without gradient, in (0, 1) where a node is real; the most important node has the smallest factor.
    """
    order = importance.detach().masked_fill(~real, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    return ranks.to(importance.dtype) / (real.sum(dim=1, keepdim=True) + 1)


def without_sign(scores: Tensor, real: Tensor, rule: SignRule) -> Tensor:
    """Scores (B, Q, S) by ``rule``; ``real`` (B, S) bool says which nodes a row's minimum is of."""
    if rule == "relu":
        return scores.relu()
    if rule == "signed":
        return scores
    lowest = scores.masked_fill(~real[:, None], torch.inf).amin(dim=2, keepdim=True)
    return scores - torch.where(lowest.isfinite(), lowest, 0)


@itemwise
def rank_attention(
    query: Tensor, support: Tensor, cells: Tensor, *, keys: int, rerank: bool = True, rule: SignRule = "relu"
) -> Tensor:
    """What each query cell reads from the foreground nodes of all supports.

    The first ``keys`` channels of both maps are keys k, the others values v. With A_ij = <k_i, k_j> / sqrt(keys):
    f_i = sum_j softmax_j(A_ij r_j / (N + 1)) v_j, where r_j ranks the mean of A over all query cells i. A rank is not
    continuous: one item at a time on a CPU, so that an episode's ranks do not depend on the rounding in its batch.

    Args:
        query: (B, keys + C, h, w).
        support: (B, K, keys + C, h', w').
        cells: (B, K, h', w') bool, the support cells that are nodes.
        keys: number of key channels.
        rerank: whether ranks weigh the scores; without, a plain softmax over ``rule``'s scores.
        rule: see :data:`SignRule`.

    Returns:
        (B, C, h, w); 0 for an episode without nodes.
    """
    nodes = nodes_of(cells)
    chosen = take(support, nodes)
    scores = query[:, :keys].flatten(2).mT @ chosen[..., :keys].mT / keys**0.5
    scores = without_sign(scores, nodes.real, rule)
    if rerank:
        scores = scores * rank_factors(scores.mean(dim=1), nodes.real)[:, None]
    read = attend(scores, chosen[..., keys:], nodes.real)
    return read.mT.reshape(len(query), -1, query.shape[2], query.shape[3])


class RefinementFusion(nn.Module):
    """X + R(X) with X = ReLU(conv [up(D); ReLU(conv F)]); all convolutions 3x3.

    D is the coarser map, enlarged bilinearly, F the finer one; R is ReLU, convolution, ReLU, convolution.
    """

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        """Builds the layers for maps of ``coarse`` and ``fine`` channels; ``width`` channels come out."""
        super().__init__()
        self.lateral = conv_block(fine, width)
        self.fuse = conv_block(coarse + width, width)
        self.refine = nn.Sequential(conv_block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """D (M, coarse, h', w') and F (M, fine, h, w) fused: (M, width, h, w), signed."""
        enlarged = resize(coarse, (fine.shape[2], fine.shape[3]))
        fused = self.fuse(torch.cat((enlarged, self.lateral(fine)), dim=1))
        refined: Tensor = fused + self.refine(fused)
        return refined


class FusionDecoder(nn.Module):
    """Maps of several resolutions to logits at the finest one.

    The coarsest map goes through a 3x3 convolution and ReLU; every finer one joins by :class:`RefinementFusion`; a
    1x1 convolution gives the logits. Weights start so that signals keep their size through the ReLUs (He et al.).
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        """Builds one step a map, from maps of ``channels``, coarsest first, to ``widths`` channels."""
        super().__init__()
        self.start = conv_block(channels[0], widths[0])
        self.steps = nn.ModuleList(
            RefinementFusion(widths[i - 1], channels[i], widths[i]) for i in range(1, len(channels))
        )
        self.classify = nn.Conv2d(widths[-1], 2, 1)
        start(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (M, channels[i], h_i, w_i), coarsest first, to logits (M, 2, h, w) of the last one's size."""
        decoded: Tensor = self.start(maps[0])
        for step, fine in zip(self.steps, maps[1:], strict=True):
            decoded = step(decoded, fine)
        logits: Tensor = self.classify(decoded)
        return logits
