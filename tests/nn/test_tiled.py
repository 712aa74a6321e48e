"""A convolution of a map with a repeated vector against the convolution of the joined maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.nn.tiled import TiledConvolution


def _joined(convolution: TiledConvolution, maps: Tensor, vectors: Tensor) -> Tensor:
    tiled = vectors[:, :, None, None].expand(-1, -1, *maps.shape[2:])
    joined = torch.cat((maps, tiled), dim=1)
    return convolution.joined(joined)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("size", [(7, 5), (2, 3), (1, 1)])
def test_against_the_joined_convolution(kernel: int, dilation: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    convolution = TiledConvolution(4, 3, 5, kernel=kernel, dilation=dilation).double()
    maps = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(2, 5, *size, dtype=torch.float64)
    inputs = (maps, vectors, convolution.joined.weight, convolution.joined.bias)
    actual, expected = convolution(maps, vectors), _joined(convolution, maps, vectors)
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad((result * towards).sum(), inputs) for result in (actual, expected)]
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference)


def test_hand_computed_border() -> None:
    """Weights 1 on a 3 x 3 map: the vector's part counts the kernel positions that lie on the map."""
    convolution = TiledConvolution(1, 1, 1)
    nn.init.ones_(convolution.joined.weight)
    nn.init.constant_(convolution.joined.bias, 0.5)
    part = convolution.of_vector(torch.tensor([[2.0]]), (3, 3))
    assert part[0, 0].tolist() == [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    torch.testing.assert_close(convolution.of_map(torch.zeros(1, 1, 3, 3)), torch.full((1, 1, 3, 3), 0.5))


def test_parameters_are_those_of_the_joined_convolution() -> None:
    shapes = {name: tuple(p.shape) for name, p in TiledConvolution(256, 256, 256, dilation=2).named_parameters()}
    assert shapes == {"joined.weight": (256, 512, 3, 3), "joined.bias": (256,)}
