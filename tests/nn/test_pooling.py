"""Masked average pooling against the published way: upsample the features, multiply, sum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.pooling import MapRes, masked_average


def upsample_then_pool(features: Tensor, masks: Tensor, align_corners: bool) -> Tensor:
    full = F.interpolate(features, size=masks.shape[-2:], mode="bilinear", align_corners=align_corners)
    sums = (full[:, None] * masks[:, :, None]).sum(dim=(3, 4))
    return sums / (masks.sum(dim=(2, 3))[..., None] + 1e-5)


def _case(batch: int = 2, channels: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, 7, 5, generator=generator, dtype=torch.float64)
    masks = (torch.rand(batch, 2, 51, 37, generator=generator) < 0.3).double()
    return features, masks


@pytest.mark.parametrize("align_corners", [False, True])
def test_adjoint_equals_upsampling_in_value_and_gradient(align_corners: bool) -> None:
    features, masks = _case()
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    a = masked_average(ours, masks, align_corners=align_corners)
    b = upsample_then_pool(theirs, masks, align_corners)
    torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-14, rtol=0)


def test_single_precision_and_boolean_masks() -> None:
    features, masks = _case()
    exact = upsample_then_pool(features, masks, False)
    actual = masked_average(features.float(), masks.bool())
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), exact, atol=2e-6, rtol=0)


def test_hand_computed() -> None:
    features = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]], dtype=torch.float64)
    # 2 cells to 4 pixels: a row reads a, (3a + b) / 4, (a + 3b) / 4, b; so pixels (0, 1), (1, 2), (3, 3) are these
    masks = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    masks[0, 0, 0, 1] = 1
    masks[0, 1, 1, 2] = masks[0, 1, 3, 3] = 1
    values = torch.tensor([1.5 / (1 + 1e-5), (3.5 + 7.0) / (2 + 1e-5)], dtype=torch.float64)
    torch.testing.assert_close(masked_average(features, masks)[0, :, 0], values, atol=1e-14, rtol=0)


@pytest.mark.parametrize("map_res", ["nearest", "bilinear"])
def test_downsampled_masks_against_a_loop(map_res: MapRes) -> None:
    features, masks = _case()
    if map_res == "nearest":
        small = F.interpolate(masks, size=(7, 5), mode="nearest")
    else:
        small = F.interpolate(masks, size=(7, 5), mode="bilinear", align_corners=False)
    expected = torch.zeros(2, 2, 7, dtype=torch.float64)
    for b in range(2):
        for g in range(2):
            total = torch.zeros(7, dtype=torch.float64)
            for i in range(7):
                for j in range(5):
                    total += small[b, g, i, j] * features[b, :, i, j]
            expected[b, g] = total / (small[b, g].sum() + 1e-5)
    assert (small.sum(dim=(2, 3)) > 0).all()
    torch.testing.assert_close(masked_average(features, masks, map_res=map_res), expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("map_res", ["adjoint", "nearest", "bilinear"])
def test_empty_mask_gives_zero_and_finite_gradients(map_res: MapRes) -> None:
    features, masks = _case()
    masks[0, 1] = 0
    features.requires_grad_()
    result = masked_average(features, masks, map_res=map_res)
    assert not result[0, 1].any()
    assert result[1].all()
    result.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("map_res", ["adjoint", "nearest", "bilinear"])
def test_the_same_bits_in_every_batch(map_res: MapRes) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(8, 37, 9, 7, generator=generator)
    masks = (torch.rand(8, 1, 65, 51, generator=generator) < 0.4).float()
    alone = torch.cat([masked_average(features[i : i + 1], masks[i : i + 1], map_res=map_res) for i in range(8)])
    for count in (1, 3, 8):
        assert torch.equal(masked_average(features[:count], masks[:count], map_res=map_res), alone[:count])
