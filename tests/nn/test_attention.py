"""Graph attention against loops over cells, masks at feature resolution, and their edge cases."""

from __future__ import annotations

import math

import pytest
import torch

from fsseg_bench.nn import attention
from fsseg_bench.nn.attention import attend, foreground_cells, nodes_of, take


@pytest.mark.parametrize("looking", [True, False])
def test_attention_against_loops(looking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "may_look", lambda tensor: looking)
    torch.manual_seed(0)
    B, K, C, h, w, Q = 3, 2, 4, 3, 5, 6
    features = torch.randn(B, K, C, h, w, dtype=torch.float64)
    cells = torch.rand(B, K, h, w) < torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1)
    cells[:, 0, 0, 0] = True
    queries = torch.randn(B, Q, C, dtype=torch.float64)
    nodes = nodes_of(cells)
    values = take(features, nodes)
    assert values.shape[1] == (int(nodes.real.sum(dim=1).max()) if looking else K * h * w)
    assert torch.equal(nodes.of(cells.flatten(1)), nodes.real)
    actual = attend(queries @ values.mT, values, nodes.real)
    for b in range(B):
        support = [
            features[b, k, :, y, x] for k in range(K) for y in range(h) for x in range(w) if bool(cells[b, k, y, x])
        ]
        assert int(nodes.real[b].sum()) == len(support)
        torch.testing.assert_close(values[b, nodes.real[b]], torch.stack(support))
        for i in range(Q):
            powers = [math.exp(float(queries[b, i] @ node)) for node in support]
            expected = sum(p * node for p, node in zip(powers, support, strict=True)) / sum(powers)
            torch.testing.assert_close(actual[b, i], expected)


def test_hand_computed_weights() -> None:
    scores, real = torch.tensor([[[0.0, math.log(3), 50.0]]]), torch.tensor([[True, True, False]])
    read = attend(scores, torch.eye(3)[None], real)
    torch.testing.assert_close(read, torch.tensor([[[0.25, 0.75, 0.0]]]))
    assert read[0, 0, 2] == 0


def test_nodes_that_are_not_real_get_neither_weight_nor_gradient() -> None:
    cells = torch.tensor([[True, True, True], [False, True, False]]).view(2, 1, 1, 3)
    features = torch.randn(2, 1, 4, 1, 3, requires_grad=True)
    nodes = nodes_of(cells)
    assert nodes.places is not None
    assert nodes.places[0].tolist() == [0, 1, 2]
    assert nodes.places[1, 0] == 1
    assert nodes.real.tolist() == [[True, True, True], [True, False, False]]
    values = take(features, nodes)
    out = attend(torch.randn(2, 5, 3), values, nodes.real)
    torch.testing.assert_close(out[1], features[1, 0, :, 0, 1].expand(5, 4))
    out.sum().backward()
    assert features.grad is not None
    assert bool((features.grad[1, 0, :, 0, [0, 2]] == 0).all())
    assert bool((features.grad[0] != 0).any())


@pytest.mark.parametrize(("looking", "places"), [(True, 1), (False, 4)])
def test_no_nodes_at_all(looking: bool, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "may_look", lambda tensor: looking)
    cells = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    nodes = nodes_of(cells)
    assert nodes.real.shape == (2, places)
    assert not nodes.real.any()
    features = torch.randn(2, 1, 3, 2, 2, requires_grad=True)
    values = take(features, nodes)
    scores = torch.randn(2, 4, places, requires_grad=True)
    out = attend(scores, values, nodes.real)
    assert torch.equal(out, torch.zeros(2, 4, 3))
    out.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_large_scores_and_half_precision() -> None:
    scores, real = torch.tensor([[[1e4, 0.0, 3e38]]]), torch.tensor([[True, True, False]])
    assert attend(scores, torch.eye(3)[None], real).tolist() == [[[1.0, 0.0, 0.0]]]
    half = torch.randn(1, 3, 5).bfloat16()
    assert attend(half, torch.randn(1, 5, 2).bfloat16(), torch.ones(1, 5, dtype=torch.bool)).dtype == torch.bfloat16


def test_masks_at_feature_resolution() -> None:
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    masks[0, :4, 4:] = True  # a quarter
    masks[1, 5, 7] = True  # lost by the nearest pixel: kept where it lies
    masks[2, 1, 1:4] = True  # lost: one pixel in the first column of cells, two in the second
    cells = foreground_cells(masks.view(2, 2, 8, 8), (4, 4))
    assert cells.shape == (2, 2, 4, 4)
    assert cells[0, 0].nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert cells[0, 1].nonzero().tolist() == [[2, 3]]
    assert cells[1, 0].nonzero().tolist() == [[0, 1]]
    assert not cells[1, 1].any()


def test_masks_are_taken_at_the_nearest_pixel() -> None:
    masks = torch.rand(3, 17, 13) < 0.5
    cells = foreground_cells(masks, (5, 4))
    for m in range(3):
        for y in range(5):
            for x in range(4):
                assert cells[m, y, x] == masks[m, y * 17 // 5, x * 13 // 4]
