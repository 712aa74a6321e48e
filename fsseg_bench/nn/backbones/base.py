"""The contract of a backbone: images to feature maps."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A feature extractor in named stages, at one output stride."""

    name: str
    """Its name in the catalogue."""
    stages: tuple[str, ...]
    """Stage names, in order."""
    channels: dict[str, int]
    """Channels of each stage's output."""
    out_channels: int
    """Channels of the last stage's output."""
    stride: int
    """Image pixels a feature cell of the last stage."""
    mean: tuple[float, float, float]
    """Channel means for images in [0, 1], RGB."""
    std: tuple[float, float, float]
    """Channel deviations for images in [0, 1], RGB."""

    def forward(self, images: Tensor) -> Tensor:
        """The last stage's features of normalised images (M, 3, H, W) float, without a final ReLU."""
        return self.levels(images, self.stages[-1:])[0]

    def levels(self, images: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The outputs of several stages, in the order of ``names``."""
        raise KeyError(tuple(names))
