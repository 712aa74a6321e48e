"""InOpt†: the inner loop from the support prototypes, against autograd."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_methods.baseline import Baseline
from fsseg_methods.inopt_dagger import InOptDagger
from tests.support.heads import TinyBackbone, make, random_episode


def by_autograd(episode: Episode, steps: int, *, unit_norm: bool, factor: float | None) -> Tensor:
    """Scores (B, N+1, h, w) after gradient descent on each query by autograd; factor None is the plain sum."""
    prototypes = make(Baseline, TinyBackbone()).prototypes(episode)
    if unit_norm:
        prototypes = prototypes / prototypes.norm(dim=2, keepdim=True)
    results = []
    for query, own in zip(episode.query, prototypes, strict=True):

        def scores(p: Tensor, query: Tensor = query) -> Tensor:
            return 20 * F.cosine_similarity(query[None], p[:, :, None, None], dim=1)[None]

        target = scores(own).argmax(dim=1)
        moving = own.clone()
        for _ in range(steps):
            leaf = moving.detach().requires_grad_()
            reduction = "sum" if factor is None else "mean"
            loss = (factor or 1.0) * F.cross_entropy(scores(leaf), target, reduction=reduction)
            moving = moving - 0.1 * torch.autograd.grad(loss, leaf)[0]
        results.append(scores(moving))
    return torch.cat(results)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 5), (2, 2), (3, 1)])
def test_scores_equal_autograd(ways: int, shots: int) -> None:
    episode = random_episode(3, ways, shots, dtype=torch.float64)
    expected = by_autograd(episode, 10, unit_norm=True, factor=1.0)
    logits, diagnostics = make(InOptDagger, TinyBackbone()).predict(episode)
    torch.testing.assert_close(logits, expected, atol=1e-11, rtol=0)
    assert (logits - make(Baseline, TinyBackbone()).predict(episode)).abs().max() > 0.05
    assert {name: tuple(v.shape) for name, v in diagnostics.items()} == {
        "feature_norm": (3,),
        "prototype_norm": (3,),
        "inner_loss": (3, 11),
        "inner_angle": (3, 11),
        "inner_angle_background": (3, 11),
    }
    torch.testing.assert_close(diagnostics["feature_norm"], episode.query.norm(dim=1).mean(dim=(1, 2)))


def test_the_papers_reading_is_reachable() -> None:
    episode = random_episode(2, dtype=torch.float64)
    literal = make(
        InOptDagger, TinyBackbone(), steps=3, inner_reduction="sum", proto_unit_norm=False, inner_pixel_ref=0.0
    )
    expected = by_autograd(episode, 3, unit_norm=False, factor=None)
    torch.testing.assert_close(literal.predict(episode).logits, expected, atol=1e-11, rtol=0)
    rescaled = make(InOptDagger, TinyBackbone(), steps=3, inner_reduction="sum", proto_unit_norm=False)
    expected = by_autograd(episode, 3, unit_norm=False, factor=2809.0)
    torch.testing.assert_close(rescaled.predict(episode).logits, expected, atol=1e-11, rtol=0)
    with pytest.raises(UserError, match="proto_unit_norm"):
        make(InOptDagger, TinyBackbone(), inner_reduction="sum")


def test_no_steps_is_the_baseline() -> None:
    episode = random_episode(2, 2, 2)
    assert torch.equal(
        make(InOptDagger, TinyBackbone(), steps=0, proto_unit_norm=False).predict(episode).logits,
        make(Baseline, TinyBackbone()).predict(episode),
    )


def test_losses() -> None:
    episode = random_episode(2, 2, 2)
    method = make(InOptDagger, TinyBackbone())
    losses = method.loss(episode)
    assert list(losses) == ["support", "final"]
    assert torch.equal(losses["support"], make(Baseline, TinyBackbone()).loss(episode)["query"])
    full = F.interpolate(method.predict(episode).logits, size=episode.size, mode="bilinear")
    expected = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    torch.testing.assert_close(losses["final"], expected, atol=1e-5, rtol=1e-5)
    doubled = make(InOptDagger, TinyBackbone(), dup_loss=True).loss(episode)
    assert list(doubled) == ["support", "start", "final"]
    assert torch.equal(doubled["start"], doubled["support"])


@pytest.mark.parametrize(("mode", "reaches"), [("first", True), ("second", True), ("leaf", False)])
def test_what_the_final_loss_teaches_the_supports(mode: str, reaches: bool) -> None:
    episode = random_episode(1)
    support = episode.support.clone().requires_grad_()
    query = episode.query.clone().requires_grad_()
    losses = make(InOptDagger, TinyBackbone(), inner_grad=mode).loss(
        dataclasses.replace(episode, support=support, query=query)
    )
    on_support, on_query = torch.autograd.grad(losses["final"], (support, query), allow_unused=True)
    assert (on_support is not None and bool(on_support.any())) is reaches
    assert on_query.any()


def test_inner_loss_on_pixels() -> None:
    episode = random_episode(2, 1, 1, dtype=torch.float64)
    logits, diagnostics = make(InOptDagger, TinyBackbone(), inner_res="input").predict(episode)
    on_cells = make(InOptDagger, TinyBackbone()).predict(episode)
    assert logits.shape == on_cells.logits.shape
    assert not torch.allclose(diagnostics["inner_loss"], on_cells.diagnostics["inner_loss"], atol=1e-3)
