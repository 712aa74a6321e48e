"""Parts of HSNet: convolutions over pairs of cells, one of the query and one of a support, and the head made of them.

A map over pairs is (B, C, s, t, h, w): s x t cells of the support, h x w of the query. Group norm wants the channels of
a group side by side: where channels are the last axis, PyTorch's sums over many cells lose four digits on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.host import sent

NORM_EPS = 1e-5
"""Added to the norm of a feature vector: what a mask has cleared correlates with nothing, not with NaN."""
WIDTHS = (16, 64, 128)
"""Channels after the steps of a squeeze."""
_GROUPS = 4  # of every group norm
_DENSE = 16  # support cells up to which the convolution along the support is one matrix product
_CHUNK = 1 << 22  # numbers of the correlation that inference holds at once: 16 MiB in float32


class Squeeze(NamedTuple):
    """Kernels and strides of the three steps that squeeze the support of one level."""

    kernels: tuple[int, int, int]
    strides: tuple[int, int, int]


SQUEEZES: Mapping[int, Squeeze] = {
    8: Squeeze((5, 5, 3), (4, 4, 2)),
    16: Squeeze((5, 3, 3), (4, 2, 2)),
    32: Squeeze((3, 3, 3), (2, 2, 2)),
}
"""By image pixels a cell: each leaves the support S / 256 cells a side for S pixels, rounded up."""


class PairConvolution(nn.Module):
    """A centre-pivot 4D convolution, group norm and ReLU.

    Of a 4D kernel it keeps two planes: the convolution over the query's cells at the pair's own support cell, and the
    one over the support's cells at its own query cell. The stride is along the support, of which it keeps the cells
    0, stride, 2 stride, ...
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.query = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.support = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(_GROUPS, outputs)

    def forward(self, pairs: Tensor) -> Tensor:
        """(B, inputs, s, t, h, w) to (B, outputs, s', t', h, w) with s' = s / stride, rounded up."""
        b, channels, s, t, h, w = pairs.shape
        kept = pairs[:, :, :: self.stride, :: self.stride]
        sides = kept.shape[2:4]
        along_query: Tensor = self.query(kept.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, h, w))
        if s * t <= _DENSE:
            bias = self.support.bias
            assert bias is not None
            along_support = dense(self.support, (s, t)) @ pairs.reshape(b, -1, h * w)
            along_support = along_support.view(b, -1, *sides, h, w) + bias[:, None, None, None, None]
        else:
            cells: Tensor = self.support(pairs.permute(0, 4, 5, 1, 2, 3).reshape(-1, channels, s, t))
            along_support = cells.view(b, h, w, -1, *sides).permute(0, 3, 4, 5, 1, 2)
        return self._finished(along_query, along_support)

    def of_correlation(self, query: Tensor, support: Tensor) -> Tensor:
        """What :meth:`forward` makes of the correlation of unit vectors (B, L, C, h, w) and (B, L, C, s, t).

        The correlation, B L (h w) (s t) numbers, is never there as a whole unless it is kept for a backward pass.
        """
        b, maps, _, h, w = query.shape
        s, t = support.shape[-2:]
        kept = support[..., :: self.stride, :: self.stride]
        cells, seen = query.flatten(3), support.flatten(3)
        pairs = correlation(kept.flatten(3), cells).transpose(1, 2)  # (B, s' t', L, h w)
        along_query: Tensor = self.query(pairs.reshape(-1, maps, h, w))
        parts = [
            self.support(correlation(chunk, seen).transpose(1, 2).reshape(-1, maps, s, t)).unflatten(0, (b, -1))
            for chunk in _chunks(cells, b * maps * s * t)
        ]
        return self._finished(along_query, torch.cat(parts, dim=1).permute(0, 2, 3, 4, 1).unflatten(4, (h, w)))

    def _finished(self, along_query: Tensor, along_support: Tensor) -> Tensor:
        """The sum, its group norm over all four spatial axes, and ReLU.

        The parts are (B s' t', C, h, w) and (B, C, s', t', h, w), which is the shape of the result.
        """
        b, _, s, t, h, w = along_support.shape
        total = along_query.view(b, s, t, -1, h, w).permute(0, 3, 1, 2, 4, 5) + along_support
        normed: Tensor = self.norm(total.contiguous())
        return normed.relu()


class SqueezeBlock(nn.Module):
    """The correlation of one level to a map over pairs with few support cells."""

    def __init__(self, maps: int, squeeze: Squeeze) -> None:
        super().__init__()
        numbers = zip((maps, *WIDTHS[:-1]), WIDTHS, squeeze.kernels, squeeze.strides, strict=True)
        self.first, self.second, self.third = (PairConvolution(*each) for each in numbers)

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Unit vectors (B, L, C, h, w) of the query and (B, L, C, s, t) of the masked support to pairs."""
        pairs: Tensor = self.third(self.second(self.first.of_correlation(query, support)))
        return pairs


class PairHead(nn.Module):
    """Correlations of several levels, squeezed along the support and mixed from coarse to fine, to logits."""

    def __init__(self, maps: Mapping[int, int]) -> None:
        """``maps``: feature maps of each level, by the stride of its squeeze, from fine to coarse."""
        super().__init__()
        width = WIDTHS[-1]
        self.squeeze = nn.ModuleList(SqueezeBlock(count, SQUEEZES[stride]) for stride, count in maps.items())
        self.mix = nn.ModuleList(
            nn.Sequential(*(PairConvolution(width, width, 3) for _ in WIDTHS)) for _ in range(len(maps) - 1)
        )
        self.decode = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 64, 3, padding=1), nn.ReLU()
        )
        self.classify = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 2, 3, padding=1))

    def forward(self, query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
        """Unit vectors of each level, fine to coarse, to logits (B, 2, 2 h, 2 w) of the finest level's h x w cells.

        Raises:
            UserError: the levels keep different numbers of support cells, so that they cannot be added.
        """
        squeezed = [block(q, s) for block, q, s in zip(self.squeeze, query, support, strict=True)]
        _check_sides(squeezed, support)
        pairs = self.mixed(squeezed)[0]
        maps: Tensor = self.decode(pairs.mean(dim=(2, 3)))
        logits: Tensor = self.classify(resize(maps, (2 * maps.shape[2], 2 * maps.shape[3]), align_corners=True))
        return logits

    def mixed(self, squeezed: Sequence[Tensor]) -> list[Tensor]:
        """Each level with all coarser ones mixed in, fine to coarse: the query's cells are resized to the finer."""
        levels = [squeezed[-1]]
        for block, finer in zip(reversed(self.mix), reversed(squeezed[:-1]), strict=True):
            size = (finer.shape[4], finer.shape[5])
            levels.insert(0, block(finer + resize(levels[0], size, align_corners=True)))
        return levels


def units(features: Tensor, masks: Tensor | None = None) -> Tensor:
    """Vectors f / (|f| + 1e-5) of features (B, L, C, h, w), which soft masks (B, H, W) weigh before, if given."""
    full = features.float() if features.dtype in {torch.float16, torch.bfloat16} else features
    if masks is not None:
        size = (full.shape[-2], full.shape[-1])
        full = full * resize(masks.to(full.dtype), size, align_corners=True)[:, None, None]
    unit: Tensor = full / (full.norm(dim=2, keepdim=True) + NORM_EPS)
    return unit


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Cosines of unit vectors (B, L, C, n) and (B, L, C, m), 0 where they are negative: (B, L, n, m)."""
    cosines: Tensor = one.transpose(2, 3) @ other
    return cosines.relu_()


def dense(convolution: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """The convolution of maps of ``size`` = (s, t), without its bias, as a matrix (outputs s' t', inputs s t)."""
    weight = convolution.weight.flatten(2)  # (outputs, inputs, taps)
    taps = _taps(size, convolution.kernel_size[0], convolution.stride[0], weight.dtype, weight.device)
    spread: Tensor = (weight @ taps.flatten(1)).unflatten(2, taps.shape[1:])  # (outputs, inputs, s' t', s t)
    return spread.transpose(1, 2).flatten(2).flatten(0, 1)


@lru_cache(maxsize=64)
def _taps(size: tuple[int, int], kernel: int, stride: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(taps, s' t', s t): 1 where a tap of the kernel leads to an output cell from an input cell."""
    # a tensor made in inference mode could not be saved for a later backward pass
    with torch.inference_mode(False), torch.no_grad():
        axes = []
        for cells in size:
            source = torch.arange(cells)[None, None]
            target = torch.arange(0, cells, stride)[None, :, None]
            axes.append(source - target + kernel // 2 == torch.arange(kernel)[:, None, None])
        both = axes[0][:, None, :, None, :, None] & axes[1][None, :, None, :, None, :]
        taps = both.reshape(kernel**2, -1, size[0] * size[1])
        return sent(taps.to(dtype), device)


def _chunks(cells: Tensor, each: int) -> Iterator[Tensor]:
    """Cells (B, L, C, n) in parts whose correlation, ``each`` numbers a cell, is bounded."""
    yield from cells.split(max(_CHUNK // each, 1), dim=3)


def _check_sides(squeezed: Sequence[Tensor], support: Sequence[Tensor]) -> None:
    sides = [tuple(pairs.shape[2:4]) for pairs in squeezed]
    if len(set(sides)) > 1:
        grids = ", ".join(f"{level.shape[-2]} x {level.shape[-1]}" for level in support)
        left = ", ".join(f"{s} x {t}" for s, t in sides)
        raise UserError(
            f"hsnet: of supports with {grids} cells the levels keep {left} after squeezing, which cannot be added; "
            "choose an image size that is a multiple of 32"
        )
