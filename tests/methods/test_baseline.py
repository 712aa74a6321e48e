"""The baseline's head against a plain reimplementation and a hand-computed case."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.baseline import Baseline
from tests.support.heads import TinyBackbone, first, make, random_episode


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


def test_loss_is_the_cross_entropy_of_upsampled_scores() -> None:
    episode = random_episode(3, 2, 2)
    losses = make(Baseline, TinyBackbone()).loss(episode)
    full = F.interpolate(published_way(episode), size=episode.size, mode="bilinear")
    expected = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    assert list(losses) == ["query"]
    torch.testing.assert_close(losses["query"], expected, atol=1e-5, rtol=1e-5)


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


def test_empty_support_mask() -> None:
    episode = random_episode(2, 2, 1)
    masks = episode.support_masks.clone()
    masks[0, 1] = 0
    scores = make(Baseline, TinyBackbone()).predict(dataclasses.replace(episode, support_masks=masks))
    assert scores.isfinite().all()
    assert not scores[0, 2].any()


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (2, 3)])
def test_the_same_bits_in_every_batch(ways: int, shots: int) -> None:
    episode = random_episode(8, ways, shots, channels=37, cells=(9, 7), size=(65, 51))
    method = make(Baseline, TinyBackbone())
    one_by_one = torch.cat([method.predict(episode.item(i)) for i in range(8)])
    for count in (1, 3, 8):
        assert torch.equal(method.predict(first(episode, count)), one_by_one[:count])


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


def test_recipes_are_those_of_the_biopt_paper() -> None:
    pascal_protocol = load_protocol("pascal5i")
    pascal = Baseline.recipe(pascal_protocol, 1)
    assert (pascal.iterations, pascal.batch, pascal.lr, pascal.schedule) == (10_000, 8, 7e-3, "constant")
    assert (pascal.momentum, pascal.weight_decay, pascal.augment, pascal.bn) == (
        0.9,
        5e-4,
        "enlarged-crop-supports",
        "eval",
    )
    assert Baseline.recipe(load_protocol("pascal5i"), 5).batch == 2
    for name in ("coco20i-a", "coco20i-b"):
        coco = Baseline.recipe(load_protocol(name), 1)
        assert (coco.iterations, coco.schedule, coco.milestones, coco.gamma) == (20_000, "step", (10_000,), 0.1)
    light = Baseline.recipe(load_protocol("shapes5i"), 1)
    assert (light.bn, light.augment) == ("eval", "flip")
    assert all(source.startswith("ours") for source in light.sources.values())
    for recipe in (pascal, coco, light):
        assert set(recipe.sources) <= set(recipe.settings())
        assert all(recipe.sources.values())
