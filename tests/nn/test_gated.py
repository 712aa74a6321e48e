"""The convolution of gated features against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.gated import gated_convolution, tap_products

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def _case(kernel: int = 3, size: tuple[int, int] = (7, 5)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(kernel)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(2, 4, *size), normal(2, 1, *size), normal(6, 4, kernel, kernel), normal(6)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 40), (33, 9)])
def test_equals_the_convolution_and_its_gradient(kernel: int, size: tuple[int, int]) -> None:
    features, gates, weight, bias = _case(kernel, size)
    gates.requires_grad_()
    expected = F.conv2d(features * gates, weight, bias, padding=kernel // 2)
    actual = gated_convolution(tap_products(features, weight), gates, bias)
    torch.testing.assert_close(actual, expected, **EXACT)
    pull = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * pull).sum(), gates)
    (found,) = torch.autograd.grad((actual * pull).sum(), gates)
    torch.testing.assert_close(found, wanted, **EXACT)


def test_one_set_of_products_serves_many_gates() -> None:
    features, gates, weight, bias = _case()
    products = tap_products(features, weight)
    for factor in (1.0, -0.3, 0.0):
        expected = F.conv2d(features * gates * factor, weight, bias, padding=1)
        torch.testing.assert_close(gated_convolution(products, gates * factor, bias), expected, **EXACT)


def test_by_hand() -> None:
    """A row of two cells under a kernel of ones: each cell sees both."""
    features = torch.tensor([[2.0, 3.0], [10.0, 20.0]]).view(1, 2, 1, 2)
    gates = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    weight = torch.ones(1, 2, 3, 3)
    weight[0, 1] = 0.1
    result = gated_convolution(tap_products(features, weight), gates, torch.tensor([5.0]))
    assert result.flatten().tolist() == pytest.approx([5 + 1 * (2 + 1) + 0.5 * (3 + 2)] * 2)


def test_gradient_for_the_gates_alone() -> None:
    features, gates, weight, bias = (tensor.requires_grad_() for tensor in _case())
    gated_convolution(tap_products(features, weight), gates, bias).sum().backward()
    assert gates.grad is not None
    assert features.grad is weight.grad is bias.grad is None
