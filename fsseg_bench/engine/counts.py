"""From logits to integer pixel counts, on the device, at any resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.conventions import VOID
from fsseg_bench.protocol.side import Part, Side


def scores_from_logits(logits: Tensor) -> Tensor:
    """What decides a pixel, at the logits' resolution.

    Two classes need one map, the logit difference: bilinear resizing is linear, so its sign is the argmax. Of logits
    (B, N+1, h, w), background first, that is (B, 1, h, w) for N = 1; else it is the logits, in float32 as well.
    """
    logits = logits.float()
    return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits


def average_scores(logits: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The multi-scale rule: softmax at ``size``, averaged over the scales (BiOpt section 5.2, CANet).

    Of logits (B, N+1, h, w) for each scale: (B, 1, H, W) foreground minus background probability for N = 1, else
    (B, N+1, H, W) probabilities.
    """

    def probabilities(at_scale: Tensor) -> Tensor:
        return F.interpolate(at_scale.float(), size, mode="bilinear", align_corners=False).softmax(dim=1)

    total = probabilities(logits[0])
    for at_scale in logits[1:]:
        total = total + probabilities(at_scale)
    mean = total / len(logits)
    return mean[:, 1:] - mean[:, :1] if mean.shape[1] == 2 else mean


def average_parts(logits: Sequence[Tensor], sides: Sequence[Side], size: Side, shapes: Sequence[Part]) -> Tensor:
    """As :func:`average_scores` where images fill a part of the square alone, which is another share at each scale.

    Each scale's part is resized to the part at ``size``; where no image is, scores are 0, which is background.

    Args:
        logits: (B, N+1, h, w) for each scale.
        sides: of the query at each scale.
        size: of the input.
        shapes: (height, width) of each query as it is, in pixels.
    """
    whole = logits[0].new_zeros((len(shapes), 1 if logits[0].shape[1] == 2 else logits[0].shape[1], size, size))
    whole = whole.float()
    for row, shape in enumerate(shapes):
        part = size.part(*shape)
        shown = [
            resized(by[row : row + 1].float(), part, side.shares(*shape))
            for by, side in zip(logits, sides, strict=True)
        ]
        whole[row, :, : part.height, : part.width] = average_scores(shown, part)[0]
    return whole


def resized(scores: Tensor, size: tuple[int, int], shares: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Maps (B, C, h, w), or their upper left part, bilinearly resized to (B, C, H, W).

    Args:
        scores: the maps.
        size: (H, W).
        shares: height and width of the part, as shares of the maps'. It may end within a cell; at its end, the cell
            behind it has its weight.
    """
    if shares != (1.0, 1.0):
        factors = [to / (of * share) for to, of, share in zip(size, scores.shape[-2:], shares, strict=True)]
        part: Tensor = torch.ops.aten.upsample_bilinear2d(scores, list(size), False, *factors)
        return part
    if scores.shape[-2:] == size:
        return scores
    return F.interpolate(scores, size, mode="bilinear", align_corners=False)


def predict_labels(scores: Tensor, size: tuple[int, int], shares: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Labels (B, H, W) uint8 in 0..N after bilinear resizing as of :func:`resized`; ties go to background."""
    scores = resized(scores, size, shares)
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0).to(torch.uint8)
    return scores.argmax(dim=1).to(torch.uint8)


def confusion(prediction: Tensor, label: Tensor, ways: int) -> Tensor:
    """Pixel counts (B, N+1, N+1) int64 of each episode: rows are labels, columns predictions; void is left out.

    Predictions and labels are (B, H, W) uint8 in 0..N; a label of 255 is void.
    """
    if ways == 1:
        hit, negative, positive = prediction.bool(), label == 0, label == 1
        parts = (negative, negative & hit, positive, positive & hit)
        negatives, false_positives, positives, true_positives = (
            torch.count_nonzero(part, dim=(1, 2)) for part in parts
        )
        cells = [negatives - false_positives, false_positives, positives - true_positives, true_positives]
        return torch.stack(cells, dim=1).view(-1, 2, 2)
    n = ways + 1
    # integers added at the places that they name: exact in any order, and nothing waits, as bincount and masks would
    cell = torch.where(label == VOID, n * n, label.long() * n + prediction).flatten(1)
    counts = torch.zeros(len(cell), n * n + 1, dtype=torch.int64, device=cell.device)
    counts.scatter_add_(1, cell, torch.ones_like(cell))
    return counts[:, :-1].reshape(-1, n, n)


def boundary_counts(prediction: Tensor, label: Tensor, ways: int, share: float) -> Tensor:
    """Pixels of the bands along the outlines of each way, (B, N, 3) int64: in both bands, in the predicted one alone,
    in the true one alone; arguments as :func:`confusion`.

    A band is what d erosions by a 3 x 3 square take off a mask, outside of the image being none of it: pixels within
    d = max(1, round(share * diagonal)) rows and columns of one that is not the mask's (Boundary IoU, Cheng et al. 2021,
    section 4). A void pixel is no mask's, predicted or not, so that both masks end where void begins.
    """
    height, width = label.shape[-2:]
    reach = max(1, round(share * math.hypot(height, width)))
    predicted = prediction.masked_fill(label == VOID, 0)
    found = []
    for way in range(1, ways + 1):
        true_band, band = (_band(labels == way, reach) for labels in (label, predicted))
        parts = (true_band & band, band & ~true_band, true_band & ~band)
        found.append(torch.stack([torch.count_nonzero(part, dim=(1, 2)) for part in parts], dim=1))
    return torch.stack(found, dim=1)


def _band(mask: Tensor, reach: int) -> Tensor:
    """What of masks (B, H, W) lies within ``reach`` rows and columns of what is not the mask."""
    inside = mask
    for dim in (1, 2):  # the window's minimum is that of its columns' minima
        inside = _full(inside, reach, dim)
    return mask & ~inside


def _full(mask: Tensor, reach: int, dim: int) -> Tensor:
    """Where all pixels at most ``reach`` before and behind along ``dim`` are the mask's: a difference of running sums,
    in whole numbers, so that the width of the window costs nothing."""
    edges = [0, 0, reach + 1, reach] if dim == 1 else [reach + 1, reach, 0, 0]
    sums = F.pad(mask.int(), edges).cumsum(dim=dim, dtype=torch.int32)
    length = mask.shape[dim]
    return sums.narrow(dim, 2 * reach + 1, length) - sums.narrow(dim, 0, length) == 2 * reach + 1


def void_counts(prediction: Tensor, label: Tensor, ways: int) -> Tensor:
    """What is predicted at void pixels, (B, N+1) int64 of each episode: arguments as :func:`confusion`.

    No score of a protocol that ignores void reads them; they tell what another rule would have given.
    """
    void = label == VOID
    if ways == 1:
        predicted = torch.count_nonzero(void & prediction.bool(), dim=(1, 2))
        return torch.stack([torch.count_nonzero(void, dim=(1, 2)) - predicted, predicted], dim=1)
    return torch.stack([torch.count_nonzero(void & (prediction == way), dim=(1, 2)) for way in range(ways + 1)], dim=1)
