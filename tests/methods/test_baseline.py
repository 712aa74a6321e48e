"""The baseline's head against a plain reimplementation and a hand-computed case."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_methods.baseline import Baseline
from tests.support.heads import TinyBackbone, make, random_episode


def published_way(episode: Episode) -> Tensor:
    """Scores (B, N+1, h, w): features upsampled to the mask, masked mean, cosine similarity."""
    support, masks = episode.support, episode.support_masks
    full = F.interpolate(support.flatten(0, 2), size=masks.shape[-2:], mode="bilinear")
    full = full.unflatten(0, masks.shape[:3])

    def pooled(mask: Tensor) -> Tensor:
        weight = mask[:, :, :, None].to(full.dtype)
        return (full * weight).sum(dim=(4, 5)) / (weight.sum(dim=(4, 5)) + 1e-5)

    background = pooled(masks == 0).mean(dim=(1, 2), keepdim=True).squeeze(1)
    prototypes = torch.cat((background, pooled(masks == 1).mean(dim=2)), dim=1)
    return 20 * F.cosine_similarity(episode.query[:, None], prototypes[..., None, None], dim=2)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 5), (2, 1), (3, 2)])
def test_scores_are_the_published_ones(ways: int, shots: int) -> None:
    episode = random_episode(3, ways, shots, dtype=torch.float64)
    scores = make(Baseline, TinyBackbone()).predict(episode)
    torch.testing.assert_close(scores, published_way(episode), atol=1e-12, rtol=0)


def test_gradient_reaches_the_trunk_through_support_and_query() -> None:
    method = make(Baseline, TinyBackbone())
    assert sum(p.numel() for p in method.parameters()) == sum(p.numel() for p in method.backbone.parameters())
    for detached in ("support", "query"):
        images = torch.randn(2, 3, 40, 32)
        features = method.encode(images)
        parts = {"support": features[:1][None, None], "query": features[1:]}
        parts[detached] = parts[detached].detach()
        episode = dataclasses.replace(random_episode(1, size=(40, 32)), **parts)
        method.zero_grad()
        sum(method.loss(episode).values()).backward()
        assert method.backbone.conv.weight.grad.any()


def test_switches_change_the_scores() -> None:
    episode = random_episode(2, size=(41, 33))
    usual = make(Baseline, TinyBackbone()).predict(episode)
    for switch in ({"map_res": "nearest"}, {"map_res": "bilinear"}, {"align_corners": True}, {"void_in_bg": True}):
        assert not torch.allclose(make(Baseline, TinyBackbone(), **switch).predict(episode), usual, atol=1e-3), switch
    half = make(Baseline, TinyBackbone(), alpha=10.0).predict(episode)
    torch.testing.assert_close(2 * half, usual)


def test_void_in_bg_refuses_several_ways() -> None:
    with pytest.raises(UserError, match="2 ways"):
        make(Baseline, TinyBackbone(), void_in_bg=True).predict(random_episode(1, 2))


def test_loss_needs_labels() -> None:
    episode = dataclasses.replace(random_episode(1), query_labels=None)
    with pytest.raises(ValueError, match="query labels"):
        make(Baseline, TinyBackbone()).loss(episode)
