"""Masked averages, prototypes and cosine scores against the published way, loops and hand-computed cases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.prototypes import (
    MapRes,
    assigned,
    background_mask,
    cosine_scores,
    masked_average,
    support_prototypes,
    unit_cells,
)
from tests.support.heads import random_masks


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


def test_hand_computed_average() -> None:
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
def test_averages_have_the_same_bits_in_every_batch(map_res: MapRes) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(8, 37, 9, 7, generator=generator)
    masks = (torch.rand(8, 1, 65, 51, generator=generator) < 0.4).float()
    alone = torch.cat([masked_average(features[i : i + 1], masks[i : i + 1], map_res=map_res) for i in range(8)])
    for count in (1, 3, 8):
        assert torch.equal(masked_average(features[:count], masks[:count], map_res=map_res), alone[:count])


def _supports(batch: int, ways: int, shots: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, ways, shots, 5, 4, 3, generator=generator, dtype=torch.float64)
    return features, random_masks((batch, ways, shots, 29, 22), seed)


def _loop(features: Tensor, masks: Tensor) -> Tensor:
    """(B, N+1, C), pixel by pixel on upsampled features."""
    batch, ways, shots, channels = features.shape[:4]
    result = torch.zeros(batch, ways + 1, channels, dtype=features.dtype)
    for b in range(batch):
        for n in range(ways):
            for k in range(shots):
                full = F.interpolate(features[b, n, k][None], size=masks.shape[-2:], mode="bilinear")[0]
                sums, counts = torch.zeros(2, channels, dtype=features.dtype), [0, 0]
                for i in range(masks.shape[-2]):
                    for j in range(masks.shape[-1]):
                        label = int(masks[b, n, k, i, j])
                        if label != 255:
                            sums[label] += full[:, i, j]
                            counts[label] += 1
                result[b, 0] += sums[0] / (counts[0] + 1e-5) / (ways * shots)
                result[b, n + 1] += sums[1] / (counts[1] + 1e-5) / shots
    return result


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 2), (1, 5), (2, 3), (3, 1)])
def test_support_prototypes_against_a_loop(ways: int, shots: int) -> None:
    features, masks = _supports(2, ways, shots)
    expected = _loop(features, masks)
    torch.testing.assert_close(support_prototypes(features, masks), expected, atol=1e-12, rtol=0)


def test_hand_computed_at_feature_resolution() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]]], dtype=torch.float64)
    masks = torch.tensor([[1, 0], [1, 255]], dtype=torch.uint8)
    means = support_prototypes(features[None, None, None], masks[None, None, None])[0]
    close = {"atol": 1e-4, "rtol": 0}
    torch.testing.assert_close(means, torch.tensor([[2.0, 1.0], [2.0, 0.0]], dtype=torch.float64), **close)
    pooled = support_prototypes(features[None, None, None], masks[None, None, None], void_in_bg=True)[0]
    torch.testing.assert_close(pooled, torch.tensor([[3.0, 1.5], [2.0, 0.0]], dtype=torch.float64), **close)


def test_void_in_bg_needs_one_way() -> None:
    masks = random_masks((1, 2, 1, 9, 9), 0)
    with pytest.raises(UserError, match="void_in_bg=true with 2 ways"):
        background_mask(masks, void_in_bg=True)


def test_cosine_scores_against_pytorch() -> None:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 6, 4, 3, generator=generator, dtype=torch.float64)
    prototypes = 7 * torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    scores = cosine_scores(unit_cells(query).cells, prototypes)
    expected = 20 * F.cosine_similarity(query[:, None], prototypes[..., None, None], dim=2)
    torch.testing.assert_close(scores, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(unit_cells(query).norms, query.norm(dim=1), atol=1e-12, rtol=0)
    half = cosine_scores(unit_cells(query).cells, prototypes, alpha=10)
    torch.testing.assert_close(2 * half, scores, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_masks_and_zero_cells_stay_finite(dtype: torch.dtype) -> None:
    features, masks = _supports(1, 2, 2)
    features, masks = features.to(dtype).requires_grad_(), masks.clone()
    masks[0, 0] = 0  # no foreground in any shot of the first way
    query = torch.randn(1, 5, 4, 3, dtype=dtype)
    query[:, :, 1, 1] = 0
    query.requires_grad_()
    prototypes = support_prototypes(features, masks)
    assert not prototypes[0, 1].any()
    scores = cosine_scores(unit_cells(query).cells, prototypes)
    assert not scores[0, 1].any()
    assert not scores[0, :, 1, 1].any()
    assert scores[0, 2].any()
    scores.square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_assigned_is_one_hot_with_the_first_of_equal_scores() -> None:
    scores = torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, 0.0]]).view(1, 2, 1, 3).requires_grad_()
    cells = assigned(scores)
    assert cells.tolist() == [[[[0, 1, 1]], [[1, 0, 0]]]]
    assert not cells.requires_grad


def test_the_same_bits_in_every_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(8, 2, 3, 37, 5, 7, generator=generator)
    masks = random_masks((8, 2, 3, 33, 41), 4)
    query = torch.randn(8, 37, 5, 7, generator=generator)

    def scores(part: slice) -> Tensor:
        return cosine_scores(unit_cells(query[part]).cells, support_prototypes(features[part], masks[part]))

    alone = torch.cat([scores(slice(i, i + 1)) for i in range(8)])
    for count in (1, 3, 8):
        assert torch.equal(scores(slice(0, count)), alone[:count])
