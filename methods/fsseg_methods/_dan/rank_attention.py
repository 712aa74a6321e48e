"""Attention whose dominant nodes are damped by their rank, so that more of the nodes take part (DAN's idea)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fsseg_bench.nn.attention import attend, nodes_of, take
from fsseg_bench.nn.itemwise import itemwise

SignRule = Literal["relu", "shift", "signed"]
"""What is re-weighted: ``relu`` max(A, 0); ``shift`` A less its row's minimum; ``signed`` A itself, where a larger
factor raises positive entries and lowers negative ones."""


def ranks(importance: Tensor, real: Tensor) -> Tensor:
    """The place of each node in descending order of importance.

    Args:
        importance: (B, S) finite.
        real: (B, S) bool; nodes that are not real come after all others.

    Returns:
        (B, S) int64 from 1, the most important node. Of equal nodes the earlier comes first.
    """
    order = importance.masked_fill(~real, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def rank_factors(importance: Tensor, real: Tensor) -> Tensor:
    """r_j / (N + 1), with N the number of real nodes: the most important node gets the smallest factor.

    Arguments as in :func:`ranks`; returns (B, S) without gradient, in (0, 1) where a node is real.
    """
    importance = importance.detach()
    count = real.sum(dim=1, keepdim=True)
    return ranks(importance, real).to(importance.dtype) / (count + 1)


def without_sign(scores: Tensor, real: Tensor, rule: SignRule) -> Tensor:
    """Scores (B, Q, S) by ``rule``; ``real`` (B, S) bool says which nodes a row's minimum is of."""
    if rule == "relu":
        return scores.relu()
    if rule == "signed":
        return scores
    lowest = scores.masked_fill(~real[:, None], torch.inf).amin(dim=2, keepdim=True)
    return scores - torch.where(lowest.isfinite(), lowest, 0)


def rank_weighted(scores: Tensor, real: Tensor, rule: SignRule) -> Tensor:
    """A_ij r_j / (N + 1), where r_j ranks the mean of A over all query cells i.

    Args:
        scores: (B, Q, S), made A by ``rule`` first.
        real: (B, S) bool.
        rule: see :data:`SignRule`.

    Returns:
        (B, Q, S). Nodes that are not real have any value.
    """
    scores = without_sign(scores, real, rule)
    return scores * rank_factors(scores.mean(dim=1), real)[:, None]


@itemwise
def rank_attention(
    query: Tensor, support: Tensor, cells: Tensor, *, keys: int, rerank: bool = True, rule: SignRule = "relu"
) -> Tensor:
    """What each query cell reads from the foreground nodes of all supports.

    The first ``keys`` channels of both maps are keys k, the others values v. With A_ij = <k_i, k_j> / sqrt(keys):
    f_i = sum_j softmax_j(A_ij r_j / (N + 1)) v_j. A rank is not continuous: one item at a time on a CPU, so that an
    episode's ranks do not depend on the rounding in its batch.

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
    weigh = rank_weighted if rerank else without_sign
    read = attend(weigh(scores, nodes.real, rule), chosen[..., keys:], nodes.real)
    return read.mT.reshape(len(query), -1, query.shape[2], query.shape[3])
