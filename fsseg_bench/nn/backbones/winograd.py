"""3x3 convolutions of many channels with 25 multiplications where a direct one has 81, for inference on the CPU.

Winograd's minimal filtering F(3x3, 3x3): Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016,
equation 8, with the interpolation points 0, 1, -1, 2 and infinity.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones.folding import is_plain

_TILE = 3  # side of the outputs that are computed together, of a window of 5
_INPUT = [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]]  # B'
_KERNEL = [[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]  # 6 G
_OUTPUT = [[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]]  # A'
# with fewer channels the transforms cost what the products save; with few cells matrices are too small
_INPUTS, _OUTPUTS, _CELLS = 256, 512, 576
_MOST_WASTE = 1.35  # cells that whole tiles compute, to those that are wanted


class WinogradConvolution(nn.Module):
    """What a convolution gives, to rounding; images go through one by one, and small ones by the convolution itself.

    The largest error is about 3e-6 of the largest output, that of a direct convolution 4e-7.
    """

    def __init__(self, direct: nn.Conv2d) -> None:
        """A copy of ``direct`` as it is now, for which :func:`is_eligible` must hold."""
        super().__init__()
        self.direct = direct
        self._spread = direct.dilation[0]
        g = torch.tensor(_KERNEL, dtype=torch.float64) / 6
        kernels = torch.einsum("ai,bj,ocij->aboc", g, g, direct.weight.detach().double()).flatten(0, 1).float()
        self._kernels = [torch.ops.mkldnn._reorder_linear_weight(kernel.contiguous()) for kernel in kernels]
        self._ahead, self._behind = (
            torch.kron(matrix, matrix) for matrix in (torch.tensor(_INPUT).float(), torch.tensor(_OUTPUT).float())
        )

    def forward(self, images: Tensor) -> Tensor:
        """(M, C, H, W) float32 to (M, O, H, W), channels last."""
        cells = images.shape[-2] * images.shape[-1]
        step = _TILE * self._spread
        rows, columns = (-(-side // step) for side in images.shape[-2:])
        if cells < _CELLS or rows * columns * step**2 > _MOST_WASTE * cells:
            result: Tensor = self.direct(images)
            return result
        lines = images.permute(0, 2, 3, 1)
        return torch.stack([self._convolved(image, rows, columns) for image in lines]).permute(0, 3, 1, 2)

    def _convolved(self, image: Tensor, rows: int, columns: int) -> Tensor:
        """(H, W, C) to (H, W, O), in so many rows and columns of tiles for each phase of the dilation."""
        height, width, channels = image.shape
        d, step = self._spread, _TILE * self._spread
        padded = F.pad(image, (0, 0, d, columns * step + d - width, d, rows * step + d - height))
        line = padded.shape[1] * channels
        windows = padded.as_strided(
            (5, 5, d, rows, d, columns, channels),
            (d * line, d * channels, line, step * line, channels, step * channels, 1),
        )
        seen = (self._ahead @ windows.reshape(25, -1)).view(25, -1, channels)
        products = torch.stack([_product(one, kernel) for one, kernel in zip(seen, self._kernels, strict=True)])
        tiles = (self._behind @ products.view(25, -1)).view(_TILE, _TILE, d, rows, d, columns, -1)
        whole = tiles.permute(3, 0, 2, 5, 1, 4, 6).reshape(rows * step, columns * step, -1)[:height, :width]
        return whole if self.direct.bias is None else whole + self.direct.bias


def _product(one: Tensor, kernel: Tensor) -> Tensor:
    """(T, C) and a reordered (O, C) to (T, O)."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(one, kernel, None, "none", [], "")
    return result


def is_eligible(module: nn.Module) -> bool:
    """Whether a module is a convolution that is computed faster in another way on this machine."""
    return (
        isinstance(module, nn.Conv2d)
        and is_plain(module)
        and _has_products()
        and module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and module.groups == 1
        and module.dilation[0] == module.dilation[1]
        and module.padding == module.dilation
        and module.padding_mode == "zeros"
        and module.in_channels >= _INPUTS
        and module.out_channels >= _OUTPUTS
    )


def quicken(network: nn.Module) -> None:
    """Replaces the convolutions for which it pays, in place; for inference in float32 on the CPU."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and is_eligible(module):
            network.set_submodule(name, WinogradConvolution(module))


@functools.cache
def _has_products() -> bool:
    """Whether PyTorch has oneDNN's products with reordered weights, which are no public operations."""
    if not torch.backends.mkldnn.is_available():
        return False
    one = torch.eye(2)
    try:
        return torch.equal(_product(one, torch.ops.mkldnn._reorder_linear_weight(2 * one)), 2 * one)
    except (
        AttributeError,
        TypeError,
        RuntimeError,
    ):  # there is none, or another signature, or no code for this machine
        return False
