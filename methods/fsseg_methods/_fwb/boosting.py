"""Boosting of a class vector: gradient steps on the supports, each stop an expert weighted by how well it does there.

The vector starts at v_0; v_{n+1} is v_n after one Adam step on the supports' summed cross-entropy. Expert n predicts
with v_n, and its weight a_n is its mean intersection over union on the supports. The experts vote with hard masks
m_n: score = sum_n a_n m_n (Nguyen and Todorovic, ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import VOID


class Boosted(NamedTuple):
    """The experts; E = steps + 1."""

    vectors: Tensor
    """(B, E, C), before each step and after the last."""
    losses: Tensor
    """(B, E, K), each support's mean cross-entropy."""
    ious: Tensor
    """(B, E, K), each support's intersection over union of foreground."""


def boost(
    start: Tensor,
    margins: Callable[[Tensor], Sequence[Tensor]],
    labels: Sequence[Tensor],
    *,
    steps: int = 10,
    lr: float = 1e-2,
) -> Boosted:
    """The experts along ``steps`` Adam steps on the vectors alone, without gradient of the result.

    Episodes do not meet: each vector's step depends on its own supports alone.

    Args:
        start: v_0 (B, C).
        margins: vectors (B, C) to the K supports' foreground logit minus background logit, each (B, H, W).
        labels: of the K supports, each (B, H, W) uint8 in {0, 1, 255}; 255 counts nowhere.
        steps: gradient steps.
        lr: Adam's step size; its other constants are the usual ones.
    """
    vectors = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([vectors], lr=lr)
    stops: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            scores = margins(vectors)
            losses = torch.stack([binary_loss(s, y) for s, y in zip(scores, labels, strict=True)], dim=1)
            total = losses.sum()
        ious = torch.stack([foreground_iou(s > 0, y) for s, y in zip(scores, labels, strict=True)], dim=1)
        stops.append((vectors.detach().clone(), losses.detach(), ious))
        if step < steps:
            (vectors.grad,) = torch.autograd.grad(total, vectors)
            adam.step()
    return Boosted(*(torch.stack(values, dim=1) for values in zip(*stops, strict=True)))


def vote(masks: Tensor, weights: Tensor) -> Tensor:
    """sum_n a_n m_n of masks m (B, E, H, W) bool and weights a (B, E): (B, H, W), from 0 to the sum of the weights."""
    return torch.einsum("behw,be->bhw", masks.to(weights.dtype), weights)


def binary_loss(margins: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (B,) of two classes as one mean over the labelled pixels of each image; 0 where all are void.

    Margins (B, H, W) are foreground logit minus background logit; labels (B, H, W) uint8 in {0, 1, 255}.
    """
    counted = labels != VOID
    losses = F.binary_cross_entropy_with_logits(margins, (labels == 1).to(margins.dtype), reduction="none")
    return (losses * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2)).clamp_min(1)


def foreground_iou(predicted: Tensor, labels: Tensor) -> Tensor:
    """Intersection over union (B,) float32 of the foreground; 0 where neither shows any.

    Predictions are (B, H, W) bool, labels (B, H, W) uint8 in {0, 1, 255}; 255 counts nowhere.
    """
    true = labels == 1
    shared = (predicted & true).sum(dim=(1, 2))
    either = ((predicted | true) & (labels != VOID)).sum(dim=(1, 2))
    return shared / either.clamp_min(1)
