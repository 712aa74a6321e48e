"""A side branch that tells the training classes apart, and gives the features a reason to mean something."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SPREAD = 0.01


class SemanticHead(nn.Module):
    """The sum of parallel dilated 3x3 convolutions from features to class scores.

    Args:
        channels: of the features.
        classes: scores a cell, background included.
        dilations: one convolution each; padding is the same, so that the size stays.
    """

    def __init__(self, channels: int, classes: int, dilations: tuple[int, ...] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, classes, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d)
            assert branch.bias is not None
            nn.init.normal_(branch.weight, std=_SPREAD)
            nn.init.zeros_(branch.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (M, classes, h, w) of features (M, channels, h, w), which are rectified first."""
        rectified = F.relu(features)
        return torch.stack([branch(rectified) for branch in self.branches]).sum(dim=0)
