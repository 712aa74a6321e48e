"""Cross-entropy against a loop over pixels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.losses import image_losses, segmentation_loss
from tests.support.heads import random_masks


def _pixel_losses(logits: Tensor, labels: Tensor, align_corners: bool) -> list[list[float]]:
    """The losses of the labelled pixels of each image."""
    full = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=align_corners)
    result = []
    for image, label in zip(full, labels, strict=True):
        own = []
        for i in range(label.shape[0]):
            for j in range(label.shape[1]):
                if label[i, j] != 255:
                    scores = [float(v) for v in image[:, i, j]]
                    own.append(math.log(sum(math.exp(s) for s in scores)) - scores[int(label[i, j])])
        result.append(own)
    return result


@pytest.mark.parametrize("align_corners", [False, True])
def test_one_mean_over_the_batch_and_one_for_each_image(align_corners: bool) -> None:
    logits = torch.randn(2, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    labels = random_masks((2, 11, 9), 5, ways=2)
    labels[0, :6] = 255  # images with different numbers of labelled pixels: the two means differ
    pixels = _pixel_losses(logits.double(), labels, align_corners)
    every = [loss for image in pixels for loss in image]
    assert segmentation_loss(logits, labels, align_corners).item() == pytest.approx(sum(every) / len(every), rel=1e-5)
    means = [sum(image) / len(image) for image in pixels]
    assert sum(means) / 2 != pytest.approx(sum(every) / len(every), rel=1e-3)
    assert image_losses(logits, labels, align_corners).tolist() == pytest.approx(means, rel=1e-5)


def test_void_everywhere_gives_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    labels = torch.full((2, 9, 9), 255, dtype=torch.uint8)
    loss = segmentation_loss(logits, labels)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()
    assert not image_losses(logits, labels).any()


def test_autocast_does_not_reach_it() -> None:
    logits = torch.randn(1, 2, 5, 5)
    labels = random_masks((1, 33, 33), 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = segmentation_loss(logits, labels)
    assert torch.equal(inside, segmentation_loss(logits, labels))


@pytest.mark.parametrize(("given", "expected"), [(torch.float16, torch.float32), (torch.float64, torch.float64)])
def test_half_precision_is_widened_and_double_is_kept(given: torch.dtype, expected: torch.dtype) -> None:
    labels = random_masks((1, 6, 6), 5)
    assert segmentation_loss(torch.zeros(1, 2, 3, 3, dtype=given), labels).dtype == expected
