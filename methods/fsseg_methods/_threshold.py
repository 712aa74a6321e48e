"""A threshold that labelled episodes choose: of a grid, the one with the best mean-IoU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.method import VOID

_STEP = 0.01
_CLASSES = 2048  # label values that are told apart; a buffer of this many rows, so that a training can be resumed


class ThresholdSearch(nn.Module):
    """Pixels of each class by cosine threshold, from -1 to 1 in steps of 0.01, added up over episodes.

    A pixel is predicted as the way of its largest cosine where that exceeds the threshold, else as background.
    """

    grid: Tensor
    """(G,) thresholds, ascending."""
    right: Tensor
    """(classes, G) int64: pixels of a class that are predicted as it."""
    wrong: Tensor
    """(classes, G) int64: pixels predicted as a class that are none of it; void ones do not count."""
    pixels: Tensor
    """(classes,) int64: of each class."""
    threshold: Tensor
    """(): the best so far, of equally good ones the lowest; NaN before the first episode."""
    mean_iou: Tensor
    """(): its IoU, averaged over the classes that were met, in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        count = round(2 / _STEP) + 1
        self.register_buffer("grid", torch.linspace(-1, 1, count, dtype=torch.float64).float(), persistent=False)
        for name in ("right", "wrong"):
            self.register_buffer(name, torch.zeros(_CLASSES, count, dtype=torch.int64))
        self.register_buffer("pixels", torch.zeros(_CLASSES, dtype=torch.int64))
        for name in ("threshold", "mean_iou"):
            self.register_buffer(name, torch.tensor(torch.nan))

    def count(self, cosines: Tensor, labels: Tensor, classes: tuple[tuple[int, ...], ...]) -> None:
        """Adds episodes, and chooses again.

        Args:
            cosines: (B, N, H, W) to the ways' prototypes, at the labels' size.
            labels: (B, H, W) in 0..N, or 255 for void.
            classes: for each episode the label values of its ways.

        Raises:
            UserError: a label value is too large.
        """
        best, way = cosines.max(dim=1)
        for i, of_ways in enumerate(classes):
            for n, label in enumerate(of_ways):
                if label >= _CLASSES:
                    raise UserError(f"threshold=base tells {_CLASSES} label values apart; this data set has {label}")
                mine, own = way[i] == n, labels[i] == n + 1
                self.right[label] += self._exceeding(best[i], mine & own)
                self.wrong[label] += self._exceeding(best[i], mine & ~own & (labels[i] != VOID))
                self.pixels[label] += own.sum()
        shares = self.right.double() / (self.pixels[:, None] + self.wrong).clamp_min(1)
        met = self.pixels > 0
        means = shares.mul(met[:, None]).sum(dim=0) / met.sum().clamp_min(1)
        self.mean_iou.copy_(means.max())
        self.threshold.copy_(self.grid[means.argmax()])

    def _exceeding(self, values: Tensor, chosen: Tensor) -> Tensor:
        """How many of the chosen values exceed each threshold: (G,)."""
        ordered = values.masked_fill(~chosen, -2.0).flatten().sort().values
        return ordered.numel() - torch.searchsorted(ordered, self.grid, right=True)
