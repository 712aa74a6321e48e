"""Resizing, its adjoint and transposed convolution against PyTorch's, and their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.bilinear import pull_back, resize, transposed_bilinear

SIZES = [((5, 7), (41, 33)), ((9, 9), (9, 9)), ((33, 20), (8, 7)), ((6, 6), (6, 50)), ((1, 3), (4, 1))]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_resize_equals_interpolate(small: tuple[int, int], large: tuple[int, int], align_corners: bool) -> None:
    x = torch.randn(2, 3, *small, dtype=torch.float64)
    expected = F.interpolate(x, size=large, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(resize(x, large, align_corners), expected, atol=1e-13, rtol=0)
    single = F.interpolate(x.float(), size=large, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(resize(x.float(), large, align_corners), single, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_pull_back_equals_the_backward_of_interpolate(
    small: tuple[int, int], large: tuple[int, int], align_corners: bool
) -> None:
    x = torch.zeros(2, 3, *small, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, *large, dtype=torch.float64)
    F.interpolate(x, size=large, mode="bilinear", align_corners=align_corners).backward(y)
    torch.testing.assert_close(pull_back(y, small, align_corners), x.grad, atol=1e-13, rtol=0)


def test_gradients_of_both_and_use_after_inference_mode() -> None:
    with torch.inference_mode():
        resize(torch.randn(1, 1, 3, 4, dtype=torch.float64), (10, 11))
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 2, 10, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, (10, 11)), (x,))
    assert torch.autograd.gradcheck(lambda y: pull_back(y, (3, 4)), (y,))


def _by_convolution(maps: Tensor, stride: int, size: tuple[int, int], offset: int) -> Tensor:
    """(B, C, h, w) upsampled by ``conv_transpose2d``, one kernel a channel, cropped."""
    side = 2 * stride
    centre = (side - 1) / 2
    kernel = torch.zeros(side, side, dtype=maps.dtype)
    for i in range(side):
        for j in range(side):
            kernel[i, j] = (1 - abs(i - centre) / stride) * (1 - abs(j - centre) / stride)
    channels = maps.shape[1]
    full = F.conv_transpose2d(maps, kernel.expand(channels, 1, -1, -1), stride=stride, groups=channels)
    return full[..., offset : offset + size[0], offset : offset + size[1]]


@pytest.mark.parametrize(
    ("stride", "cells", "size", "offset"),
    [
        (32, (2, 2), (65, 81), 0),
        (32, (3, 2), (97, 65), 19),
        (32, (2, 3), (96, 128), 0),  # the whole map
        (8, (5, 4), (37, 30), 4),
        (3, (1, 6), (1, 7), 2),
        (1, (4, 3), (4, 3), 0),
    ],
)
def test_equals_the_transposed_convolution(
    stride: int, cells: tuple[int, int], size: tuple[int, int], offset: int
) -> None:
    maps = torch.randn(2, 3, *cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    actual = transposed_bilinear(maps, stride, size, offset)
    assert actual.shape == (2, 3, *size)
    torch.testing.assert_close(actual, _by_convolution(maps, stride, size, offset), atol=1e-12, rtol=0)


def test_gradient_is_that_of_the_convolution() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(1, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 2, 20, 27, generator=generator, dtype=torch.float64)
    (actual,) = torch.autograd.grad((transposed_bilinear(maps, 8, (20, 27), 3) * weights).sum(), maps)
    (expected,) = torch.autograd.grad((_by_convolution(maps, 8, (20, 27), 3) * weights).sum(), maps)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)


def test_hand_computed() -> None:
    maps = torch.tensor([[4.0, 8.0]])
    # stride 2: the kernel of an axis is 1/4, 3/4, 3/4, 1/4; the only row carries 1/4 at the first pixel
    actual = transposed_bilinear(maps, 2, (2, 6))
    row = torch.tensor([1.0, 3.0, 3.0 + 2.0, 1.0 + 6.0, 6.0, 2.0])
    torch.testing.assert_close(actual, torch.stack((row / 4, row * 3 / 4)))


def test_inner_pixels_of_a_constant_map_stay_constant() -> None:
    inner = transposed_bilinear(torch.ones(1, 1, 3, 3), 32, (64, 64), 32)
    torch.testing.assert_close(inner, torch.ones(1, 1, 64, 64))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.float32)],
)
def test_precision(dtype: torch.dtype, expected: torch.dtype) -> None:
    maps = torch.full((2, 2), 1 / 3).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        actual = transposed_bilinear(maps, 4, (9, 8))
    assert actual.dtype == expected
    torch.testing.assert_close(actual, transposed_bilinear(maps.to(expected), 4, (9, 8)), atol=0, rtol=0)


def test_weights_made_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        transposed_bilinear(torch.ones(2, 2), 5, (11, 13))
    maps = torch.ones(2, 2, requires_grad=True)
    transposed_bilinear(maps, 5, (11, 13)).sum().backward()
    assert maps.grad is not None


@pytest.mark.parametrize(
    ("stride", "size", "offset"),
    [(32, (97, 64), 0), (32, (64, 64), 33), (0, (1, 1), 0), (2, (0, 1), 0), (2, (1, 1), -1)],
)
def test_windows_that_do_not_exist(stride: int, size: tuple[int, int], offset: int) -> None:
    with pytest.raises(ValueError, match="stride"):
        transposed_bilinear(torch.zeros(2, 2), stride, size, offset)
