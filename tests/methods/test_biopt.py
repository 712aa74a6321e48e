"""BiOpt: the gated start, the stages and what is learned."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_methods.baseline import Baseline
from fsseg_methods.biopt import BiOpt, fuse, predicted_prototypes
from tests.support.heads import TinyBackbone, first, make, random_episode


def test_predicted_prototypes_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 1.0, 1.0, 1.0]]).view(1, 2, 2, 2)
    scores = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]).view(1, 3, 2, 2)
    supports = torch.tensor([[[7.0, 7.0], [8.0, 8.0], [9.0, 5.0]]])
    own = predicted_prototypes(features, scores, supports, soft=False)
    expected = torch.tensor([[[1.0, 0.0], [11 / 3, 1.0], [9.0, 5.0]]])  # the third class has no cell
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=0)


def test_soft_predicted_prototypes_against_a_loop() -> None:
    episode = random_episode(2, 2, dtype=torch.float64)
    scores = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    own = predicted_prototypes(episode.query, scores, torch.zeros(2, 3, 6, dtype=torch.float64), soft=True)
    for b in range(2):
        for c in range(3):
            top, bottom = torch.zeros(6, dtype=torch.float64), 0.0
            for i in range(5):
                for j in range(4):
                    weight = math.exp(scores[b, c, i, j]) / sum(math.exp(s) for s in scores[b, :, i, j])
                    top += weight * episode.query[b, :, i, j]
                    bottom += weight
            torch.testing.assert_close(own[b, c], top / (bottom + 1e-5), atol=1e-12, rtol=0)


def test_fusion_by_hand() -> None:
    gate = nn.Linear(4, 2)
    with torch.no_grad():
        gate.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]))
        gate.bias.copy_(torch.tensor([0.0, math.log(3) - 2]))
    own, supports = torch.tensor([[[0.0, 4.0]]]), torch.tensor([[[10.0, 1.0]]])
    # channel 0 reads P'_0 = 0: w = 1/2; channel 1 reads P_s,1 = 1: w = sigmoid(log 3) = 3/4
    expected = torch.tensor([[[0.5 * 10.0 + 0.5 * 0.0, 0.75 * 1.0 + 0.25 * 4.0]]])
    torch.testing.assert_close(fuse(own, supports, gate=gate), expected)


def _reference(method: BiOpt, query: Tensor, supports: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (N+1, h, w) of one query (C, h, w) from P_s (N+1, C), from the start and after ten autograd steps."""

    def scores(p: Tensor) -> Tensor:
        return 20 * F.cosine_similarity(query[None], p[:, :, None, None], dim=1)

    assigned = scores(supports).argmax(dim=0)
    own = supports.clone()
    for c in range(supports.shape[0]):
        if (assigned == c).any():
            own[c] = query[:, assigned == c].mean(dim=1)
    weights = torch.sigmoid(method.gate(torch.cat((own, supports), dim=1)))
    start = weights * supports + (1 - weights) * own
    target = scores(start).argmax(dim=0)
    moving = (start / start.norm(dim=1, keepdim=True)).detach()
    for _ in range(10):
        leaf = moving.requires_grad_()
        loss = F.cross_entropy(scores(leaf)[None], target[None])
        moving = (leaf - 0.1 * torch.autograd.grad(loss, leaf)[0]).detach()
    return scores(supports), scores(start), scores(moving)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 5), (2, 3), (3, 1)])
def test_every_stage_against_a_plain_version(ways: int, shots: int) -> None:
    episode = random_episode(3, ways, shots, dtype=torch.float64)
    method = make(BiOpt, TinyBackbone()).double()
    stages = method.stages(episode)
    supports = method.prototypes(episode)
    expected = [_reference(method, q, p) for q, p in zip(episode.query, supports, strict=True)]
    ours = (stages.support, stages.start, stages.final.logits)
    for actual, wanted in zip(ours, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(actual, torch.stack(wanted), atol=1e-4, rtol=0)  # 1e-5 in the pooling's divisor
    assert (stages.start - stages.support).abs().max() > 0.1
    assert (stages.final.logits - stages.start).abs().max() > 0.02
    assert torch.equal(method.predict(episode).logits, stages.final.logits)


def test_three_losses() -> None:
    episode = random_episode(2, 2, 2)
    method = make(BiOpt, TinyBackbone())
    losses, stages = method.loss(episode), method.stages(episode)
    assert list(losses) == ["support", "start", "final"]
    assert torch.equal(losses["support"], make(Baseline, TinyBackbone()).loss(episode)["query"])
    for name, logits in (("start", stages.start), ("final", stages.final.logits)):
        full = F.interpolate(logits, size=episode.size, mode="bilinear")
        expected = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
        torch.testing.assert_close(losses[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("mode", "taught"),
    [
        ("first", {"support": False, "start": True, "final": True}),
        ("second", {"support": False, "start": True, "final": True}),
        ("leaf", {"support": False, "start": True, "final": False}),
    ],
)
def test_which_losses_teach_the_gate(mode: str, taught: dict[str, bool]) -> None:
    method = make(BiOpt, TinyBackbone(), inner_grad=mode)
    losses = method.loss(random_episode(2))
    for name, expected in taught.items():
        if not losses[name].requires_grad:
            assert not expected
            continue
        (gradient,) = torch.autograd.grad(losses[name], method.gate.weight, retain_graph=True, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) is expected, name


def test_empty_support_mask() -> None:
    episode = random_episode(2, 2, 1)
    masks = episode.support_masks.clone()
    masks[0, 1] = 0
    masks[1] = 0
    method = make(BiOpt, TinyBackbone())
    support = episode.support.clone().requires_grad_()
    episode = dataclasses.replace(episode, support_masks=masks, support=support)
    assert method.predict(episode).logits.isfinite().all()
    sum(method.loss(episode).values()).backward()
    assert support.grad.isfinite().all()
    assert method.gate.weight.grad.isfinite().all()


@pytest.mark.parametrize("switches", [{}, {"soft_mask": True}], ids=str)
def test_the_same_bits_in_every_batch(switches: dict[str, bool]) -> None:
    episode = random_episode(8, 1, 2, channels=37, cells=(9, 7), size=(65, 51))
    method = make(BiOpt, TinyBackbone(37), **switches)
    parts = [method.predict(episode.item(i)) for i in range(8)]
    for count in (1, 3, 8):
        logits, diagnostics = method.predict(first(episode, count))
        assert torch.equal(logits, torch.cat([part.logits for part in parts[:count]]))
        for name, values in diagnostics.items():
            assert torch.equal(values, torch.cat([part.diagnostics[name] for part in parts[:count]])), name
