"""Cross-entropy of logits at the labels' resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.conventions import VOID
from fsseg_bench.nn.bilinear import resize


def segmentation_loss(logits: Tensor, labels: Tensor, align_corners: bool = False) -> Tensor:
    """Cross-entropy as one mean over all labelled pixels of the batch.

    Args:
        logits: (B, G, h, w), upsampled bilinearly to the labels' size.
        labels: (B, H, W) uint8 in 0..G-1, or 255, which counts nowhere.
        align_corners: of the upsampling.

    Returns:
        A scalar; 0 when every pixel is void.

    Example:
        Two equal logits cost log 2 a pixel, whatever the label; the void pixel is not counted.

        >>> labels = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
        >>> segmentation_loss(torch.zeros(1, 2, 1, 1), labels)
        tensor(0.6931)
    """
    losses, counts = _per_image(logits, labels, align_corners)
    return losses.sum() / counts.sum().clamp_min(1)


def image_losses(logits: Tensor, labels: Tensor, align_corners: bool = False) -> Tensor:
    """Cross-entropy (B,) as one mean over the labelled pixels of each image; arguments as in the batch's loss."""
    losses, counts = _per_image(logits, labels, align_corners)
    return losses / counts.clamp_min(1)


def _per_image(logits: Tensor, labels: Tensor, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Sums of the pixel losses (B,) and numbers of labelled pixels (B,)."""
    with torch.autocast(logits.device.type, enabled=False):
        precise = logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits
        full = resize(precise, (labels.shape[1], labels.shape[2]), align_corners)
        losses = F.cross_entropy(full, labels.long(), ignore_index=VOID, reduction="none")
    return losses.sum(dim=(1, 2)), (labels != VOID).sum(dim=(1, 2))
