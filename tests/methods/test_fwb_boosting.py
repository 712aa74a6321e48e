"""Boosting against Adam in scalars, the vote and the scores by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_methods._fwb.boosting import binary_loss, boost, foreground_iou, vote


def _supports(batch: int = 3, shots: int = 2) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Starts (B, 4), and of each shot a linear map (B, 30, 4) from vectors to pixels and labels (B, 5, 6)."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(batch, 4, generator=generator, dtype=torch.float64)
    maps = [torch.randn(batch, 30, 4, generator=generator, dtype=torch.float64) for _ in range(shots)]
    labels = [torch.randint(0, 3, (batch, 5, 6), generator=generator, dtype=torch.uint8) for _ in range(shots)]
    return start, maps, [label.masked_fill(label == 2, 255) for label in labels]


def _margins(maps: list[Tensor], vectors: Tensor) -> list[Tensor]:
    return [(one @ vectors[..., None]).view(-1, 5, 6) for one in maps]


def _by_hand(start: Tensor, maps: list[Tensor], labels: list[Tensor], steps: int) -> list[list[float]]:
    """The vectors of one episode (no batch axis), with gradient and Adam written out number by number."""
    vector, first, second = start.tolist(), [0.0] * 4, [0.0] * 4
    track = [list(vector)]
    for step in range(1, steps + 1):
        gradient = [0.0] * 4
        for one, label in zip(maps, labels, strict=True):
            rows, truth = one.tolist(), label.flatten().tolist()
            counted = [i for i, value in enumerate(truth) if value != 255]
            for i in counted:
                score = sum(a * v for a, v in zip(rows[i], vector, strict=True))
                excess = (1 / (1 + math.exp(-score)) - truth[i]) / len(counted)
                gradient = [g + excess * a for g, a in zip(gradient, rows[i], strict=True)]
        for c, g in enumerate(gradient):
            first[c] = 0.9 * first[c] + 0.1 * g
            second[c] = 0.999 * second[c] + 0.001 * g * g
            mean, square = first[c] / (1 - 0.9**step), second[c] / (1 - 0.999**step)
            vector[c] -= 1e-2 * mean / (math.sqrt(square) + 1e-8)
        track.append(list(vector))
    return track


def test_against_adam_by_hand() -> None:
    start, maps, labels = _supports()
    with torch.no_grad():
        result = boost(start, lambda vectors: _margins(maps, vectors), labels, steps=4)
    assert result.vectors.shape == (3, 5, 4)
    assert result.losses.shape == result.ious.shape == (3, 5, 2)
    for b in range(3):
        wanted = _by_hand(start[b], [one[b] for one in maps], [label[b] for label in labels], 4)
        torch.testing.assert_close(result.vectors[b], torch.tensor(wanted, dtype=torch.float64), atol=1e-10, rtol=0)
    for n in range(5):
        for k, margin in enumerate(_margins(maps, result.vectors[:, n])):
            torch.testing.assert_close(result.losses[:, n, k], binary_loss(margin, labels[k]))
            assert torch.equal(result.ious[:, n, k], foreground_iou(margin > 0, labels[k]))


def test_episodes_do_not_meet() -> None:
    start, maps, labels = _supports()
    together = boost(start, lambda vectors: _margins(maps, vectors), labels, steps=6)
    for b in range(3):
        part = slice(b, b + 1)
        own = [one[part] for one in maps]
        alone = boost(
            start[part], lambda vectors, own=own: _margins(own, vectors), [label[part] for label in labels], steps=6
        )
        for all_of, one_of in zip(together, alone, strict=True):
            torch.testing.assert_close(all_of[part], one_of, atol=1e-12, rtol=0)


def test_the_supports_are_learned_and_nothing_keeps_a_gradient() -> None:
    start, maps, labels = _supports(shots=1)
    maps[0].requires_grad_()
    result = boost(start, lambda vectors: _margins(maps, vectors), labels, steps=40, lr=0.1)
    assert (result.losses[:, -1] < 0.8 * result.losses[:, 0]).all()
    assert not any(value.requires_grad for value in result)
    assert maps[0].grad is None
    assert not start.requires_grad


def test_no_steps_is_one_expert() -> None:
    start, maps, labels = _supports()
    result = boost(start, lambda vectors: _margins(maps, vectors), labels, steps=0)
    assert torch.equal(result.vectors, start[:, None])


def test_loss_is_the_cross_entropy_of_two_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (3, 4, 5), generator=generator, dtype=torch.uint8)
    labels = labels.masked_fill(labels == 2, 255)
    actual = binary_loss(logits[:, 1] - logits[:, 0], labels)
    for b in range(3):
        torch.testing.assert_close(
            actual[b], F.cross_entropy(logits[b : b + 1], labels[b : b + 1].long(), ignore_index=255)
        )
    void = torch.full_like(labels, 255)
    assert binary_loss(logits[:, 0], void).tolist() == [0, 0, 0]


def test_intersection_over_union_by_hand() -> None:
    labels = torch.tensor([[1, 1, 0, 0, 255], [0, 0, 0, 0, 0]], dtype=torch.uint8).view(2, 1, 5)
    predicted = torch.tensor([[True, False, True, False, True], [False] * 5]).view(2, 1, 5)
    assert foreground_iou(predicted, labels).tolist() == pytest.approx([1 / 3, 0])


def test_vote_by_hand() -> None:
    masks = torch.tensor([[[[True, False]], [[True, True]]]])
    assert vote(masks, torch.tensor([[0.5, 0.25]])).flatten().tolist() == [0.75, 0.25]
