"""Mid-level features: layer2 and layer3 of a ResNet side by side, embedded by one dilated convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.conv_block import conv_block

_WANTED = ("layer2", "layer3")


def mid_level_stages(backbone: Backbone) -> tuple[str, ...]:
    """The stages to read: ``layer2`` and ``layer3`` where both exist at one stride, else the last stage alone."""
    strides = {backbone.strides.get(stage) for stage in _WANTED}
    return _WANTED if None not in strides and len(strides) == 1 else backbone.stages[-1:]


def mid_level_channels(backbone: Backbone) -> int:
    """Channels of :func:`mid_level_features`."""
    return sum(backbone.channels[stage] for stage in mid_level_stages(backbone))


def mid_level_features(backbone: Backbone, images: Tensor) -> Tensor:
    """The mid-level stages of images (M, 3, H, W), concatenated: (M, C, h, w), all after a ReLU."""
    return torch.cat(backbone.levels(images, mid_level_stages(backbone)), dim=1).relu()


class MidLevel(nn.Module):
    """ReLU(3x3 convolution of dilation 2 over the mid-level stages), with batch-norm or dropout if asked for.

    The backbone is an argument of :meth:`forward`, not a part: its owner may fold or replace it.
    """

    def __init__(self, backbone: Backbone, width: int, *, batch_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = conv_block(mid_level_channels(backbone), width, dilation=2, batch_norm=batch_norm, dropout=dropout)

    def forward(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Features (M, width, h, w) >= 0 of normalised images (M, 3, H, W)."""
        features: Tensor = self.embed(mid_level_features(backbone, images))
        return features
