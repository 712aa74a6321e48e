"""Winograd's convolution, against the direct one in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones import build_backbone, folded, quicken, winograd
from fsseg_bench.nn.backbones.winograd import WinogradConvolution, is_eligible
from fsseg_bench.nn.layout import Layout

WIDE = {"in_channels": 256, "out_channels": 512, "kernel_size": 3, "padding": 1}
here = pytest.mark.skipif(not winograd._has_products(), reason="this PyTorch has no products with reordered weights")


def exactly(convolution: nn.Conv2d, images: Tensor) -> Tensor:
    weight, bias = convolution.weight.double(), None if convolution.bias is None else convolution.bias.double()
    return F.conv2d(images.double(), weight, bias, padding=convolution.padding, dilation=convolution.dilation)


def images_of(*shape: int) -> Tensor:
    return torch.rand(*shape).to(memory_format=torch.channels_last)


def largest_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_the_matrices_are_those_of_minimal_filtering() -> None:
    """Equation 6 of Lavin and Gray: A'((G g) * (B' d)) is the sliding product of g over d, for every pair of units."""
    ahead, kernel, behind = map(np.array, (winograd._INPUT, winograd._KERNEL, winograd._OUTPUT))
    for i, g in enumerate(np.eye(3, dtype=int)):
        for j, d in enumerate(np.eye(5, dtype=int)):
            products = (kernel @ g) * (ahead @ d)
            assert (behind @ products).tolist() == [6 * (j == k + i) for k in range(3)]


@here
@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("height", "width", "dilation"),
    [(24, 24, 1), (27, 30, 1), (53, 53, 1), (25, 40, 1), (27, 27, 2), (53, 53, 2), (35, 36, 3), (53, 53, 4)],
)
def test_it_is_the_convolution_to_rounding(height: int, width: int, dilation: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(**WIDE | {"padding": dilation}, dilation=dilation, bias=bias)
    images = images_of(1, 256, height, width)
    found = WinogradConvolution(convolution)(images)
    assert not torch.equal(found, convolution(images))  # it is another way
    assert largest_error(found, exactly(convolution, images)) < 1e-5
    assert found.is_contiguous(memory_format=torch.channels_last)


@here
@torch.no_grad()
def test_an_image_does_not_depend_on_its_company() -> None:
    module = WinogradConvolution(nn.Conv2d(**WIDE))
    images = images_of(3, 256, 26, 26)
    together = module(images)
    for i in range(3):
        assert torch.equal(together[i : i + 1], module(images[i : i + 1]))
    assert torch.equal(together, module(images))


@here
@torch.no_grad()
@pytest.mark.parametrize(("side", "dilation"), [(23, 1), (8, 2), (25, 4), (28, 8)])
def test_small_maps_and_wide_dilations_are_computed_directly(side: int, dilation: int) -> None:
    convolution = nn.Conv2d(**WIDE | {"padding": dilation}, dilation=dilation)
    images = images_of(2, 256, side, side)
    assert torch.equal(WinogradConvolution(convolution)(images), convolution(images))


@here
@pytest.mark.parametrize(
    ("changes", "eligible"),
    [
        ({}, True),
        ({"padding": 2, "dilation": 2}, True),
        ({"bias": False}, True),
        ({"in_channels": 255}, False),
        ({"out_channels": 511}, False),
        ({"kernel_size": 1, "padding": 0}, False),
        ({"stride": 2}, False),
        ({"groups": 2}, False),
        ({"padding": 0}, False),
        ({"dilation": 2}, False),
        ({"padding": (1, 2), "dilation": (1, 2)}, False),
        ({"padding_mode": "reflect"}, False),
    ],
)
def test_which_convolutions(changes: dict[str, object], eligible: bool) -> None:
    assert is_eligible(nn.Conv2d(**WIDE | changes)) is eligible


class _Standardised(nn.Conv2d):
    """Weight standardisation, as some published backbones have it."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight - self.weight.mean(), self.bias, padding=1)


@here
def test_a_convolution_of_its_own_kind_or_with_hooks_stays_as_it_is() -> None:
    hooked, prepared = nn.Conv2d(**WIDE), nn.Conv2d(**WIDE)
    hooked.register_forward_hook(lambda module, given, result: 2 * result)
    prepared.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    assert not any(map(is_eligible, (_Standardised(**WIDE), hooked, prepared)))


@here
@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("name", "replaced"), [("vgg16", 6), ("resnet50", 3), ("resnet18-layer3", 0)])
def test_features_of_a_backbone(name: str, replaced: int) -> None:
    torch.manual_seed(0)
    plain = folded(build_backbone(name, Layout()))
    quick = folded(plain)
    quicken(quick)
    assert sum(isinstance(module, WinogradConvolution) for module in quick.modules()) == replaced
    images = images_of(1, 3, 241, 241) * 4 - 2
    wanted = folded(plain).double()(images.double())
    assert largest_error(quick(images), wanted) < 1e-5
    assert torch.equal(quick(images), plain(images)) is (replaced == 0)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_without_the_products_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def lacking(one: Tensor, kernel: Tensor) -> Tensor:
        raise error("no such operation")

    winograd._has_products.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(winograd, "_product", lacking)
        network = nn.Sequential(nn.Conv2d(**WIDE))
        quicken(network)
        assert type(network[0]) is nn.Conv2d
        winograd._has_products.cache_clear()
