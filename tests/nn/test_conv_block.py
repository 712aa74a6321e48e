"""Convolution blocks: sizes, order of layers, start values."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsseg_bench.nn.conv_block import conv_block, start_small


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (3, 18)])
def test_the_size_stays_and_the_numbers_are_those_of_a_convolution(kernel: int, dilation: int) -> None:
    block = conv_block(3, 5, kernel=kernel, dilation=dilation)
    images = torch.randn(2, 3, 7, 6)
    padding = dilation * (kernel - 1) // 2
    expected = F.conv2d(images, block[0].weight, block[0].bias, padding=padding, dilation=dilation).clamp_min(0)
    assert expected.shape == (2, 5, 7, 6)
    torch.testing.assert_close(block(images), expected)


def test_layers() -> None:
    kinds = [type(layer) for layer in conv_block(3, 5, batch_norm=True, dropout=0.25)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout2d]
    assert [type(layer) for layer in conv_block(3, 5)] == [nn.Conv2d, nn.ReLU]


def test_small_start_touches_weights_of_convolutions_only() -> None:
    torch.manual_seed(0)
    block = conv_block(64, 64, batch_norm=True)
    bias = block[0].bias.detach().clone()
    start_small(block, 0.01)
    assert abs(float(block[0].weight.detach().std()) - 0.01) < 2e-4
    assert abs(float(block[0].weight.detach().mean())) < 2e-4
    assert torch.equal(block[0].bias, bias)
    assert bool((block[1].weight == 1).all())
