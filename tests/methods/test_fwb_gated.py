"""The convolution of gated features against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_methods._fwb import gated
from fsseg_methods._fwb.gated import gated_response, gated_responses, tap_products

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def _case(kernel: int = 3, size: tuple[int, int] = (7, 5)) -> list[Tensor]:
    """Features, gates, and the weight, bias and readout of the network."""
    generator = torch.Generator().manual_seed(kernel)
    shapes = ((2, 4, *size), (2, 1, *size), (6, 4, kernel, kernel), (6,), (6,))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _plain(features: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, readout: Tensor) -> Tensor:
    hidden = F.conv2d(features * gates, weight, bias, padding=weight.shape[-1] // 2).relu()
    return torch.einsum("bohw,o->bhw", hidden, readout)


@pytest.fixture(params=[1, 2**16, 2**23], ids=["single rows", "some rows", "all rows"])
def strip_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated, "_STRIP_BYTES", request.param)


@pytest.mark.usefixtures("strip_bytes")
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 40), (33, 9)])
def test_equals_the_convolution_and_its_gradient(kernel: int, size: tuple[int, int]) -> None:
    features, gates, *network = _case(kernel, size)
    gates.requires_grad_()
    expected = _plain(features, gates, *network)
    actual = gated_response(list(tap_products(features, network[0])), gates, *network[1:])
    torch.testing.assert_close(actual, expected, **EXACT)
    pull = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * pull).sum(), gates)
    (found,) = torch.autograd.grad((actual * pull).sum(), gates)
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.usefixtures("strip_bytes")
def test_one_pass_over_the_products_serves_many_gates() -> None:
    features, gates, weight, *rest = _case(size=(33, 9))
    several = [gates * factor for factor in (1.0, -0.3, 0.0)]
    for gate, actual in zip(several, gated_responses(tap_products(features, weight), several, *rest), strict=True):
        torch.testing.assert_close(actual, _plain(features, gate, weight, *rest), **EXACT)


def test_strips_cover_the_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _, weight, *_ = _case(size=(33, 9))
    row_bytes = 2 * 9 * 6 * 11 * 8
    monkeypatch.setattr(gated, "_STRIP_BYTES", 4 * row_bytes)
    rows = [strip.rows for strip in tap_products(features, weight)]
    assert [(one.start, one.stop) for one in rows] == [*((i, i + 4) for i in range(0, 32, 4)), (32, 33)]


def test_by_hand() -> None:
    """A row of two cells under kernels of ones and of minus ones: each cell sees both, ReLU stops the second."""
    features = torch.tensor([[2.0, 3.0], [10.0, 20.0]]).view(1, 2, 1, 2)
    gates = torch.tensor([1.0, 0.5], requires_grad=True)
    weight = torch.ones(2, 2, 3, 3)
    weight[:, 1] = 0.1
    weight[1] *= -1
    strips = list(tap_products(features, weight))
    result = gated_response(strips, gates.view(1, 1, 1, 2), torch.tensor([5.0, 1.0]), torch.tensor([2.0, 7.0]))
    assert result.flatten().tolist() == pytest.approx([2 * (5 + 1 * (2 + 1) + 0.5 * (3 + 2))] * 2)
    result.sum().backward()
    assert gates.grad is not None
    assert gates.grad.tolist() == pytest.approx([2 * 2 * (2 + 1), 2 * 2 * (3 + 2)])


def test_gradient_for_the_gates_alone() -> None:
    features, gates, weight, bias, readout = (tensor.requires_grad_() for tensor in _case())
    gated_response(list(tap_products(features, weight)), gates, bias, readout).sum().backward()
    assert gates.grad is not None
    assert features.grad is weight.grad is bias.grad is readout.grad is None
