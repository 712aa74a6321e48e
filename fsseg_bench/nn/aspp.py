"""Atrous spatial pyramid pooling: one map read at several scales at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsseg_bench.nn.conv_block import conv_block

RATES = (6, 12, 18)
"""Dilations of the 3x3 branches at output stride 8, as in CANet and its successors."""


class ASPP(nn.Module):
    """Parallel branches of one map, concatenated.

    In this order: the map's mean through a 1x1 convolution, spread over all cells; a 1x1 convolution; a 3x3
    convolution for each rate. Every branch ends in ReLU and ``Dropout2d`` and is as wide as its input.
    """

    def __init__(self, width: int, *, rates: tuple[int, ...] = RATES, dropout: float = 0.5) -> None:
        super().__init__()
        self.image = conv_block(width, width, kernel=1, dropout=dropout)
        self.point = conv_block(width, width, kernel=1, dropout=dropout)
        self.dilated = nn.ModuleList(conv_block(width, width, dilation=rate, dropout=dropout) for rate in rates)
        self.out_channels = width * (2 + len(rates))

    def forward(self, features: Tensor) -> Tensor:
        """(M, width, h, w) to (M, width * (2 + number of rates), h, w)."""
        image = self.image(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        return torch.cat((image, self.point(features), *(branch(features) for branch in self.dilated)), dim=1)


class ASPPClassifier(nn.Module):
    """ASPP, a 1x1 convolution back to its width, and a 1x1 convolution to the logits."""

    def __init__(
        self,
        width: int,
        classes: int = 2,
        *,
        rates: tuple[int, ...] = RATES,
        dropout: float = 0.5,
        project_batch_norm: bool = False,
        project_dropout: float = 0.5,
    ) -> None:
        """Builds the layers.

        Args:
            width: channels of the input and of each branch.
            classes: channels of the logits.
            rates: dilations of the 3x3 branches.
            dropout: of each branch.
            project_batch_norm: whether the convolution after the branches has a batch-norm before its ReLU.
            project_dropout: of the convolution after the branches.
        """
        super().__init__()
        self.aspp = ASPP(width, rates=rates, dropout=dropout)
        self.project = conv_block(
            self.aspp.out_channels, width, kernel=1, batch_norm=project_batch_norm, dropout=project_dropout
        )
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(M, width, h, w) to logits (M, classes, h, w)."""
        logits: Tensor = self.classify(self.project(self.aspp(features)))
        return logits
