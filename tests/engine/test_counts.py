"""Pixel counts against a loop over pixels, and label maps against plain argmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.engine.counts import average_scores, confusion, predict_labels, scores_from_logits, void_counts


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
