"""The alignment loss (PANet, Section 3.4): supports segmented by prototypes of the query's predicted classes."""

from __future__ import annotations

import torch
from torch import Tensor

from fsseg_bench.method import VOID
from fsseg_bench.nn.losses import image_losses
from fsseg_bench.nn.prototypes import background_mask


def alignment_labels(masks: Tensor, void_in_bg: bool) -> Tensor:
    """Support masks (B, N, K, H, W) as labels: 1 the way's class, 0 background, 255 left out.

    Raises:
        UserError: ``void_in_bg`` with several ways.
    """
    return torch.full_like(masks, VOID).masked_fill(background_mask(masks, void_in_bg), 0).masked_fill(masks == 1, 1)


def alignment_losses(scores: Tensor, labels: Tensor, present: Tensor, align_corners: bool) -> Tensor:
    """Alignment loss of each episode.

    Args:
        scores: (B, N, K, 2, h, w) of the supports.
        labels: (B, N, K, H, W) uint8 in {0, 1, 255}.
        present: (B, N+1) bool; a way that the query does not show is skipped.
        align_corners: of the upsampling to the labels' size.

    Returns:
        (B,): the sum over the supports of each one's mean cross-entropy, divided by N * K, skipped ways included.
    """
    losses = image_losses(scores.flatten(0, 2), labels.flatten(0, 2), align_corners).reshape(labels.shape[:3])
    return (losses * present[:, 1:, None]).mean(dim=(1, 2))
