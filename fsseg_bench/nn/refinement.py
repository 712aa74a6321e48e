"""Residual refinement of a feature map that is told an earlier prediction (CANet's iterative optimisation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsseg_bench.nn.bilinear import resize


class Refinement(nn.Module):
    """X + R_1([X; y]), then X + R_2(X), then X + R_3(X).

    Each R is ReLU, 3x3 convolution, ReLU, 3x3 convolution. The first ReLU belongs to the branch alone: the sum
    takes X as it is, signs included.
    """

    def __init__(self, width: int, *, history: int = 2, blocks: int = 3) -> None:
        """Builds the blocks.

        Args:
            width: channels of X.
            history: channels of the earlier prediction y; 0 for none.
            blocks: number of residual blocks, at least 1.
        """
        super().__init__()
        self.blocks = nn.ModuleList(_branch(width + (history if i == 0 else 0), width) for i in range(blocks))
        self.history = history

    def forward(self, features: Tensor, history: Tensor | None = None) -> Tensor:
        """The refined features.

        Args:
            features: X, (M, width, h, w).
            history: y, (M, history, any, any), resized bilinearly with aligned corners; None for zeros.

        Returns:
            (M, width, h, w), signed.
        """
        inputs = features
        if self.history:
            inputs = torch.cat((features, self._told(features, history)), dim=1)
        for i, block in enumerate(self.blocks):
            features = features + block(inputs if i == 0 else features)
        return features

    def _told(self, features: Tensor, history: Tensor | None) -> Tensor:
        cells = (features.shape[2], features.shape[3])
        if history is None:
            return features.new_zeros(len(features), self.history, *cells)
        return resize(history.to(features.dtype), cells, align_corners=True)


def _branch(inputs: int, width: int) -> nn.Sequential:
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution: (M, inputs, h, w) to (M, width, h, w)."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    )
