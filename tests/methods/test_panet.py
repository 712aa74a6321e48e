"""PANet's alignment loss against loops, and what its gradients reach."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_methods._shared import alignment_labels
from fsseg_methods.baseline import Baseline
from fsseg_methods.panet import PANet, query_prototypes, support_scores
from tests.support.heads import TinyBackbone, make, random_episode


def _alignment_by_loops(episode: Episode, scores: Tensor, *, void_in_bg: bool = False) -> Tensor:
    """(B,), one support after the other."""
    losses = []
    for b in range(episode.batch):
        predicted = scores[b].argmax(dim=0)

        def prototype(c: int, b: int = b, predicted: Tensor = predicted) -> Tensor:
            cells = (predicted == c).to(scores.dtype)
            return (episode.query[b] * cells).sum(dim=(1, 2)) / (cells.sum() + 1e-5)

        total = torch.zeros((), dtype=scores.dtype)
        for n in range(episode.ways):
            if not (predicted == n + 1).any():
                continue
            pair = torch.stack((prototype(0), prototype(n + 1)))
            for k in range(episode.shots):
                back = 20 * F.cosine_similarity(episode.support[b, n, k][None], pair[..., None, None], dim=1)
                full = F.interpolate(back[None], size=episode.size, mode="bilinear")
                label = episode.support_masks[b, n, k].long()
                if void_in_bg:
                    label = label.masked_fill(label == 255, 0)
                total = total + F.cross_entropy(full, label[None], ignore_index=255)
        losses.append(total / (episode.ways * episode.shots))
    return torch.stack(losses)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 5), (2, 1), (3, 2)])
def test_alignment_against_loops(ways: int, shots: int) -> None:
    episode = random_episode(3, ways, shots, dtype=torch.float64)
    method = make(PANet, TinyBackbone())
    losses = method.loss(episode)
    expected = _alignment_by_loops(episode, method.predict(episode)).mean()
    assert list(losses) == ["query", "align"]
    torch.testing.assert_close(losses["align"].double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(losses["query"], make(Baseline, TinyBackbone()).loss(episode)["query"])
    assert torch.equal(method.predict(episode), make(Baseline, TinyBackbone()).predict(episode))


def test_a_way_that_is_not_predicted_is_skipped_and_still_counted() -> None:
    episode = random_episode(2, 2, 2, dtype=torch.float64)
    method = make(PANet, TinyBackbone())
    scores = method.predict(episode)
    scores[0, 2] = -100  # no cell of the first episode shows the second way
    actual = method.alignment_loss(episode, scores)
    torch.testing.assert_close(actual.double(), _alignment_by_loops(episode, scores), atol=1e-5, rtol=1e-5)
    scores[0, 1] = -100  # nothing but background
    assert method.alignment_loss(episode, scores)[0] == 0


def test_void_in_bg_reaches_the_alignment_labels() -> None:
    episode = random_episode(2, 1, 2, dtype=torch.float64)
    method = make(PANet, TinyBackbone(), void_in_bg=True)
    scores = method.predict(episode)
    expected = _alignment_by_loops(episode, scores, void_in_bg=True)
    torch.testing.assert_close(method.alignment_loss(episode, scores).double(), expected, atol=1e-5, rtol=1e-5)
    masks = torch.tensor([0, 1, 255], dtype=torch.uint8).view(1, 1, 1, 1, 3)
    assert alignment_labels(masks, False).flatten().tolist() == [0, 1, 255]
    assert alignment_labels(masks, True).flatten().tolist() == [0, 1, 0]


def test_weight() -> None:
    episode = random_episode(2)
    usual = make(PANet, TinyBackbone()).loss(episode)["align"]
    torch.testing.assert_close(make(PANet, TinyBackbone(), align_weight=0.25).loss(episode)["align"], usual / 4)
    assert list(make(PANet, TinyBackbone(), align_weight=0.0).loss(episode)) == ["query"]


def test_alignment_gradient_reaches_query_and_support_but_not_through_the_mask() -> None:
    episode = random_episode(1)
    query, support = episode.query.clone().requires_grad_(), episode.support.clone().requires_grad_()
    scores = torch.randn(1, 2, 5, 4, requires_grad=True)
    make(PANet, TinyBackbone()).alignment_loss(
        dataclasses.replace(episode, query=query, support=support), scores
    ).sum().backward()
    assert query.grad.any()
    assert support.grad.any()
    assert scores.grad is None


def test_hand_computed_query_prototypes() -> None:
    query = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 1.0, 1.0, 1.0]]).view(1, 2, 2, 2)
    scores = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]).view(1, 3, 2, 2)
    prototypes, present = query_prototypes(query, scores)
    assert present.tolist() == [[True, True, False]]
    torch.testing.assert_close(prototypes[0], torch.tensor([[1.0, 0.0], [11 / 3, 1.0], [0.0, 0.0]]), atol=1e-4, rtol=0)
    back = support_scores(torch.tensor([0.0, 2.0]).view(1, 1, 1, 2, 1, 1), prototypes[:, :2], 20.0)
    slope = 1 / ((11 / 3) ** 2 + 1) ** 0.5
    torch.testing.assert_close(back.flatten(), torch.tensor([0.0, 20 * slope]), atol=1e-4, rtol=0)


def test_empty_support_mask_and_void_supports_stay_finite() -> None:
    episode = random_episode(2, 1, 2)
    masks = episode.support_masks.clone()
    masks[0] = 0
    masks[1, 0, 0] = 255
    support = episode.support.clone().requires_grad_()
    losses = make(PANet, TinyBackbone()).loss(dataclasses.replace(episode, support_masks=masks, support=support))
    total = losses["query"] + losses["align"]
    total.backward()
    assert total.isfinite()
    assert support.grad.isfinite().all()
