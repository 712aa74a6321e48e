"""Convolutions of a map joined with a vector that is repeated at every cell.

A convolution is linear, so that of [map; repeated vector] is the map's part plus the vector's part. The vector's
part differs between cells only through the padding at the border, and costs one product a kernel position. One map
and many vectors need one convolution instead of one a vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiledConvolution(nn.Module):
    """An equally padded convolution whose input is [map; vector repeated over the map], in this order."""

    def __init__(self, maps: int, vectors: int, outputs: int, *, kernel: int = 3, dilation: int = 1) -> None:
        """Builds the layer.

        Args:
            maps: channels of the map.
            vectors: channels of the vector.
            outputs: channels given.
            kernel: its side, odd.
            dilation: of the kernel; the padding keeps the size.
        """
        super().__init__()
        self.joined = nn.Conv2d(maps + vectors, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        """The ordinary convolution of the joined input, whose weights are used; it is never called."""
        self.maps = maps

    def of_map(self, maps: Tensor) -> Tensor:
        """The part of maps (B, maps, h, w) with the bias: (B, outputs, h, w)."""
        joined = self.joined
        weight = joined.weight[:, : self.maps]
        part: Tensor = F.conv2d(maps, weight, joined.bias, padding=joined.padding, dilation=joined.dilation)
        return part

    def of_vector(self, vectors: Tensor, size: tuple[int, int]) -> Tensor:
        """The part of vectors (B, vectors), each repeated over a map of ``size``: (B, outputs, *size)."""
        weight = self.joined.weight[:, self.maps :].flatten(2)
        taps: Tensor = torch.einsum("oct,bc->bot", weight, vectors.to(weight.dtype))
        part: Tensor = (taps @ self._reached(size, taps)).unflatten(2, size)
        return part

    def forward(self, maps: Tensor, vectors: Tensor) -> Tensor:
        """The convolution of the joined input: maps (B, maps, h, w), vectors (B, vectors)."""
        return self.of_map(maps) + self.of_vector(vectors, (maps.shape[2], maps.shape[3]))

    def _reached(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """(taps, h * w): 1 where a kernel position lies on the map, 0 where it lies on the padding."""
        ones = torch.ones(1, 1, *size, dtype=like.dtype, device=like.device)
        kernel, dilation = self.joined.kernel_size, self.joined.dilation
        padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
        reached: Tensor = F.unfold(ones, kernel, dilation, padding)[0]
        return reached
