"""Pixel counts against a loop over pixels, and label maps against plain argmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.data.loading import squash
from fsseg_bench.engine.counts import (
    average_parts,
    average_scores,
    boundary_counts,
    confusion,
    predict_labels,
    resized,
    scores_from_logits,
    void_counts,
)
from fsseg_bench.protocol.side import Part, Side


def loop_counts(prediction: np.ndarray, label: np.ndarray, ways: int) -> list[list[int]]:
    counts = [[0] * (ways + 1) for _ in range(ways + 1)]
    for p, t in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True):
        if t != 255:
            counts[t][p] += 1
    return counts


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_confusion_equals_a_loop_over_pixels(ways: int) -> None:
    rng = np.random.RandomState(ways)
    prediction = rng.randint(0, ways + 1, (4, 13, 17)).astype(np.uint8)
    label = rng.choice([*range(ways + 1), 255], (4, 13, 17)).astype(np.uint8)
    found = confusion(torch.from_numpy(prediction), torch.from_numpy(label), ways)
    assert found.dtype == torch.int64
    expected = [loop_counts(p, t, ways) for p, t in zip(prediction, label, strict=True)]
    assert found.tolist() == expected


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_counts_of_void_pixels_equal_a_loop_over_pixels(ways: int) -> None:
    rng = np.random.RandomState(ways)
    prediction = rng.randint(0, ways + 1, (4, 13, 17)).astype(np.uint8)
    label = rng.choice([0, 1, 255], (4, 13, 17)).astype(np.uint8)
    found = void_counts(torch.from_numpy(prediction), torch.from_numpy(label), ways)
    expected = [[0] * (ways + 1) for _ in range(4)]
    for i, (p, t) in enumerate(zip(prediction, label, strict=True)):
        for predicted, true in zip(p.ravel().tolist(), t.ravel().tolist(), strict=True):
            expected[i][predicted] += true == 255
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_confusion_of_a_void_label_is_zero() -> None:
    counts = confusion(torch.ones(1, 4, 4, dtype=torch.uint8), torch.full((1, 4, 4), 255, dtype=torch.uint8), 1)
    assert counts.sum() == 0


@pytest.mark.parametrize("ways", [1, 2])
def test_labels_equal_argmax_of_upsampled_logits(ways: int) -> None:
    logits = torch.randn(3, ways + 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    full = F.interpolate(logits, (65, 80), mode="bilinear", align_corners=False)
    found = predict_labels(scores_from_logits(logits), (65, 80))
    margin = full.topk(2, dim=1).values.diff(dim=1).abs()[:, 0] > 1e-4  # float32 may decide a tie either way
    assert margin.float().mean() > 0.99
    assert torch.equal(found[margin].long(), full.argmax(dim=1)[margin])


def test_a_tie_goes_to_background() -> None:
    assert predict_labels(scores_from_logits(torch.zeros(1, 2, 3, 3)), (6, 6)).sum() == 0


@pytest.mark.parametrize("ways", [1, 2])
def test_multi_scale_averages_the_softmax_at_input_size(ways: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = [3 * torch.randn(2, ways + 1, side, side, generator=generator) for side in (5, 7, 9)]
    expected = np.zeros((2, ways + 1, 20, 20))
    for one in logits:
        full = F.interpolate(one, (20, 20), mode="bilinear", align_corners=False).double().numpy()
        exp = np.exp(full - full.max(axis=1, keepdims=True))
        expected += exp / exp.sum(axis=1, keepdims=True) / 3
    found = predict_labels(average_scores(logits, (20, 20)), (20, 20)).numpy()
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], expected.argmax(axis=1)[clear])


PADDED = [((50, 37), 8), ((37, 50), 8), ((40, 40), 8), ((100, 3), 8), ((3, 100), 1)]


def naive_part(maps: torch.Tensor, size: tuple[int, int], shares: tuple[float, float]) -> np.ndarray:
    """Bilinear, half-pixel centres, of the upper left ``shares`` of maps (C, h, w): pixel by pixel."""
    values = maps.double().numpy()
    found = np.zeros((len(values), *size))
    for y in range(size[0]):
        for x in range(size[1]):
            places = [
                max((at + 0.5) * share * of / to - 0.5, 0.0)
                for at, share, of, to in zip((y, x), shares, values.shape[1:], size, strict=True)
            ]
            (top, down), (left, right) = ((int(p), p - int(p)) for p in places)
            below, behind = min(top + 1, values.shape[1] - 1), min(left + 1, values.shape[2] - 1)
            upper = (1 - right) * values[:, top, left] + right * values[:, top, behind]
            lower = (1 - right) * values[:, below, left] + right * values[:, below, behind]
            found[:, y, x] = (1 - down) * upper + down * lower
    return found


@pytest.mark.parametrize(("shape", "multiple"), PADDED)
def test_the_unpadded_part_is_resized_alone(shape: tuple[int, int], multiple: int) -> None:
    maps = torch.randn(1, 2, 6, 7, generator=torch.Generator().manual_seed(3))
    shares = Side(41, multiple).shares(*shape)
    found = resized(maps, shape, shares)[0]
    np.testing.assert_allclose(found.numpy(), naive_part(maps[0], shape, shares), atol=1e-5)
    assert torch.equal(resized(maps, (9, 9), (1.0, 1.0)), F.interpolate(maps, (9, 9), mode="bilinear"))


@pytest.mark.parametrize(("shape", "multiple"), PADDED)
@pytest.mark.parametrize("side", [400, 401])
def test_a_mask_comes_back_from_the_square(shape: tuple[int, int], multiple: int, side: int) -> None:
    rng = np.random.RandomState(4)
    mask = rng.randint(0, 2, shape).astype(np.uint8)
    if min(shape) > 3:  # what a thousandth of the image becomes is not asked
        mask = mask.repeat(4, axis=0).repeat(4, axis=1)[: shape[0], : shape[1]]
    square = Side(side, multiple)
    there = torch.from_numpy(squash(np.ascontiguousarray(mask), square))
    logits = torch.where(there == 255, torch.tensor(9.0), (there == 1).float())[None, None]  # padding shouts
    back = predict_labels(logits - 0.5, shape, square.shares(*shape))[0].numpy()
    inside = (slice(0, max(shape[0] - 1, 1)), slice(0, max(shape[1] - 1, 1)))  # the last row and column see the padding
    assert (back == mask)[inside].mean() > (0.99 if min(shape) > 3 else 0.95)
    if min(square.shares(*shape)) < 0.9:
        whole = predict_labels(logits - 0.5, shape)[0].numpy()
        assert (whole == mask).mean() < 0.9


@pytest.mark.parametrize("ways", [1, 2])
def test_scales_of_padded_images_are_averaged_part_by_part(ways: int) -> None:
    size, shapes = Side(20, 4), [Part(50, 37), Part(37, 50), Part(30, 30)]
    sides = [size.scaled(factor) for factor in (0.7, 1.0, 1.3)]
    generator = torch.Generator().manual_seed(1)
    logits = [3 * torch.randn(3, ways + 1, cells, cells, generator=generator) for cells in (5, 7, 9)]
    found = average_parts(logits, sides, size, shapes)
    for row, shape in enumerate(shapes):
        part = size.part(*shape)
        expected = np.zeros((ways + 1, *part))
        for one, side in zip(logits, sides, strict=True):
            exp = np.exp(naive_part(one[row], part, side.shares(*shape)))
            expected += exp / exp.sum(axis=0) / 3
        wanted = expected[1:] - expected[:1] if ways == 1 else expected
        np.testing.assert_allclose(found[row, :, : part.height, : part.width].numpy(), wanted, atol=1e-5)
        assert not found[row, :, part.height :].any()
        assert not found[row, :, :, part.width :].any()


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """One erosion by a 3 x 3 square after the other, the outside of the image being 0 (boundary-iou-api's rule)."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        shifted = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
        mask = np.min(shifted, axis=0)
    return mask


def blobs(rng: np.random.RandomState, shape: tuple[int, int], values: int) -> np.ndarray:
    """Labels with outlines of every kind: rectangles over one another, and some single pixels."""
    found = np.zeros(shape, dtype=np.uint8)
    for _ in range(6):
        (top, bottom), (left, right) = (sorted(rng.randint(0, side + 1, 2)) for side in shape)
        found[top:bottom, left:right] = rng.randint(0, values)
    found[rng.randint(0, shape[0], 5), rng.randint(0, shape[1], 5)] = rng.randint(0, values, 5)
    return found


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(("shape", "share"), [((37, 50), 0.02), ((37, 50), 0.06), ((9, 70), 0.1), ((24, 24), 0.5)])
def test_bands_equal_single_erosions(ways: int, shape: tuple[int, int], share: float) -> None:
    rng = np.random.RandomState(ways)
    label = np.stack([blobs(rng, shape, ways + 1) for _ in range(3)])
    prediction = np.stack([blobs(rng, shape, ways + 1) for _ in range(3)])
    label[0, 5:8, 3:30] = 255
    label[1], prediction[1] = 1, 1  # all of the image: the band runs along its border
    times = max(1, round(share * math.sqrt(shape[0] ** 2 + shape[1] ** 2)))
    assert times == {0.02: 1, 0.06: 4, 0.1: 7, 0.5: 17}[share]
    found = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(label), ways, share)
    assert found.dtype == torch.int64
    for i in range(3):
        for way in range(1, ways + 1):
            true = (label[i] == way).astype(np.uint8)
            guessed = ((prediction[i] == way) & (label[i] != 255)).astype(np.uint8)
            band, other = (mask - eroded(mask, times) == 1 for mask in (true, guessed))
            expected = [(band & other).sum(), (other & ~band).sum(), (band & ~other).sum()]
            assert found[i, way - 1].tolist() == expected
    whole = shape[0] * shape[1] - max(shape[0] - 2 * times, 0) * max(shape[1] - 2 * times, 0)
    assert found[1, 0].tolist() == [whole, 0, 0]


def test_a_perfect_prediction_beside_void_has_a_perfect_band() -> None:
    """VOC draws void around objects: what is predicted there is neither right nor wrong, in bands, too."""
    label = torch.zeros(1, 30, 30, dtype=torch.uint8)
    label[0, 8:22, 8:22] = 255
    label[0, 10:20, 10:20] = 1
    for grown in (0, 1, 2):
        prediction = torch.zeros_like(label)
        prediction[0, 10 - grown : 20 + grown, 10 - grown : 20 + grown] = 1
        (counts,) = boundary_counts(prediction, label, 1, 0.05)
        assert counts.tolist() == [[100 - 36, 0, 0]]  # d is 2
