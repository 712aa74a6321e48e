"""N-way episodes from N one-way predictions: each way is predicted as if it were alone, and a rule joins the results.

A pass of way n gives the margin ``d_n``, its foreground logit less its background logit, whose sigmoid ``p_n`` is the
pass's foreground probability. The rules give N+1 logits, background first:

* ``max-logit``: 0, d_1, ..., d_N. The way with the largest margin where that is positive, else background.
* ``softmax``: the logarithms of mean_n (1 - p_n), p_1, ..., p_N: one background, the mean of those of the passes, so
  that a way has to be surer the more ways there are. The rule is that of integrative few-shot learning (Kang and Cho,
  CVPR 2022; recalled, not read again).
* ``background-threshold=T``: logit(T), d_1, ..., d_N. The way with the largest p_n where that exceeds T; T is 0.5
  unless it is given, which is ``max-logit``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fsseg_bench.conventions import VOID
from fsseg_bench.method import Episode, Features
from fsseg_bench.records.request import BACKGROUND_THRESHOLD, threshold_of


def apart(episode: Episode) -> Episode:
    """The B episodes of N ways as B N episodes of one way, way by way within each.

    The supports' masks must be those of one-way episodes (0 where another way's class is, not 255). An episode's seed
    is that of all its ways.
    """
    batch, ways = episode.batch, episode.ways
    labels = episode.query_labels
    return replace(
        episode,
        support=_each(episode.support, partial(torch.flatten, start_dim=0, end_dim=1), one_way=True),
        support_masks=episode.support_masks.flatten(0, 1).unsqueeze(1),
        query=_each(episode.query, partial(torch.repeat_interleave, repeats=ways, dim=0)),
        seeds=tuple(seed for seed in episode.seeds for _ in range(ways)),
        query_labels=None if labels is None else torch.cat([_one_way(labels[i], ways) for i in range(batch)]),
        unlabelled=None
        if episode.unlabelled is None
        else _each(episode.unlabelled, partial(torch.flatten, start_dim=0, end_dim=1), one_way=True),
    )


def merged(logits: Tensor, ways: int, rule: str) -> Tensor:
    """Logits (B, N+1, h, w), background first, of those of one-way episodes (B N, 2, h, w) from :func:`apart`."""
    logits = logits.float()
    margins = (logits[:, 1] - logits[:, 0]).unflatten(0, (-1, ways))
    if rule == "softmax":
        foreground = torch.nn.functional.logsigmoid(margins)
        background = torch.nn.functional.logsigmoid(-margins).logsumexp(dim=1, keepdim=True) - math.log(ways)
        return torch.cat([background, foreground], dim=1)
    threshold = threshold_of(rule) if rule.startswith(BACKGROUND_THRESHOLD) else 0.5
    background = torch.full_like(margins[:, :1], math.log(threshold / (1 - threshold)))
    return torch.cat([background, margins], dim=1)


def _one_way(labels: Tensor, ways: int) -> Tensor:
    """(N, H, W) what each way is shown of the labels (H, W)."""
    own = torch.stack([labels == way for way in range(1, ways + 1)]).to(labels.dtype)
    return torch.where(labels == VOID, labels, own)


def _each(features: Features, change: partial[Tensor], *, one_way: bool = False) -> Features:
    def of(level: Tensor) -> Tensor:
        return change(level).unsqueeze(1) if one_way else change(level)

    return of(features) if isinstance(features, Tensor) else tuple(map(of, features))
