"""A decoder from coarse to fine: each step fuses what is decoded so far with the next finer map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.conv_block import conv_block


class RefinementFusion(nn.Module):
    """X + R(X) with X = ReLU(conv [up(D); ReLU(conv F)]); all convolutions 3x3.

    D is the coarser map, enlarged bilinearly, F the finer one; R is ReLU, convolution, ReLU, convolution.
    """

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        """Builds the layers for maps of ``coarse`` and ``fine`` channels; ``width`` channels come out."""
        super().__init__()
        self.lateral = conv_block(fine, width)
        self.fuse = conv_block(coarse + width, width)
        self.refine = nn.Sequential(conv_block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """D (M, coarse, h', w') and F (M, fine, h, w) fused: (M, width, h, w), signed."""
        enlarged = resize(coarse, (fine.shape[2], fine.shape[3]))
        fused = self.fuse(torch.cat((enlarged, self.lateral(fine)), dim=1))
        refined: Tensor = fused + self.refine(fused)
        return refined


class FusionDecoder(nn.Module):
    """Maps of several resolutions to logits at the finest one.

    The coarsest map goes through a 3x3 convolution and ReLU; every finer one joins by :class:`RefinementFusion`; a
    1x1 convolution gives the logits. Weights start so that signals keep their size through the ReLUs (He et al.).
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], classes: int = 2) -> None:
        """Builds one step a map.

        Args:
            channels: of the maps, coarsest first; at least one.
            widths: channels after each step.
            classes: channels of the logits.
        """
        super().__init__()
        self.start = conv_block(channels[0], widths[0])
        self.steps = nn.ModuleList(
            RefinementFusion(widths[i - 1], channels[i], widths[i]) for i in range(1, len(channels))
        )
        self.classify = nn.Conv2d(widths[-1], classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (M, channels[i], h_i, w_i), coarsest first, to logits (M, classes, h, w) of the last one's size."""
        decoded: Tensor = self.start(maps[0])
        for step, fine in zip(self.steps, maps[1:], strict=True):
            decoded = step(decoded, fine)
        logits: Tensor = self.classify(decoded)
        return logits
