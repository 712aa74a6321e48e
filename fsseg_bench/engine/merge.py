"""N-way episodes from N one-way predictions: each way is predicted as if it were alone, and a rule joins the results.

A pass of way n gives each pixel a foreground probability ``p_n``. What decides the pixel:

* ``max-logit``: the way with the largest p_n where that exceeds 1/2, else background.
* ``softmax``: the way with the largest p_n where that exceeds mean_n (1 - p_n): one background, the mean of those of
  the passes, so that a way has to be surer the more ways there are. The rule is that of integrative few-shot learning
  (Kang and Cho, CVPR 2022; recalled, not read again).
* ``background-threshold=T``: the way with the largest p_n where that exceeds T; T is 0.5 unless it is given, which is
  ``max-logit``.

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


def needs_probabilities(rule: str) -> bool:
    """Whether a rule is no comparison of single margins, so that it must be given what is resized already."""
    return rule == "softmax"


def joined(scores: Tensor, ways: int, rule: str, *, probabilities: bool) -> Tensor:
    """Scores (B, N+1, h, w), background first, the largest of which decides a pixel.

    They are linear in ``scores``, so that resizing them is resizing each pass.

    Args:
        scores: (B N, 1, h, w) of the one-way episodes from :func:`apart`.
        ways: N.
        rule: see the module.
        probabilities: whether the scores are probabilities of foreground less those of background, 2 p - 1; else they
            are margins, foreground less background logit.
    """
    by_way = scores.float()[:, 0].unflatten(0, (-1, ways))
    if rule == "softmax":
        return torch.cat([-by_way.mean(dim=1, keepdim=True), by_way], dim=1)
    threshold = threshold_of(rule) if rule.startswith(BACKGROUND_THRESHOLD) else 0.5
    level = 2 * threshold - 1 if probabilities else math.log(threshold / (1 - threshold))
    return torch.cat([torch.full_like(by_way[:, :1], level), by_way], dim=1)


def _one_way(labels: Tensor, ways: int) -> Tensor:
    """(N, H, W) what each way is shown of the labels (H, W)."""
    own = torch.stack([labels == way for way in range(1, ways + 1)]).to(labels.dtype)
    return torch.where(labels == VOID, labels, own)


def _each(features: Features, change: partial[Tensor], *, one_way: bool = False) -> Features:
    def of(level: Tensor) -> Tensor:
        return change(level).unsqueeze(1) if one_way else change(level)

    return of(features) if isinstance(features, Tensor) else tuple(map(of, features))
