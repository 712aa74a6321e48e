"""Resizing and its adjoint against PyTorch's interpolation and its autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.nn import bilinear
from fsseg_bench.nn.bilinear import pull_back, resize

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
    bilinear._weights.cache_clear()
    with torch.inference_mode():
        resize(torch.randn(1, 1, 3, 4, dtype=torch.float64), (10, 11))
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 2, 10, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, (10, 11)), (x,))
    assert torch.autograd.gradcheck(lambda y: pull_back(y, (3, 4)), (y,))
