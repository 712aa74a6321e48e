"""Residual refinement: the equations written out, the history's way in, a hand-computed case."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.refinement import Refinement


def _written_out(refinement: Refinement, features: Tensor, history: Tensor | None) -> Tensor:
    x = features
    for i, block in enumerate(refinement.blocks):
        inputs = x
        if i == 0 and history is not None:
            full = F.interpolate(history, size=x.shape[2:], mode="bilinear", align_corners=True)
            inputs = torch.cat((x, full), dim=1)
        inner = F.conv2d(inputs.clamp_min(0), block[1].weight, block[1].bias, padding=1)
        x = x + F.conv2d(inner.clamp_min(0), block[3].weight, block[3].bias, padding=1)
    return x


@pytest.mark.parametrize("cells", [(6, 5), (3, 9), (1, 1)])
def test_against_the_equations(cells: tuple[int, int]) -> None:
    refinement = Refinement(4)
    features, history = torch.randn(2, 4, 6, 5), torch.rand(2, 2, *cells)
    torch.testing.assert_close(refinement(features, history), _written_out(refinement, features, history))
    no_news = refinement(features)
    torch.testing.assert_close(no_news, _written_out(refinement, features, torch.zeros(2, 2, 6, 5)))
    assert torch.equal(no_news, refinement(features, torch.zeros(2, 2, 1, 1)))


def test_hand_computed() -> None:
    """One cell, one channel, weights 1 in the middle: the skip keeps the sign that the branch loses."""
    refinement = Refinement(1, history=1, blocks=2)
    with torch.no_grad():
        for parameter in refinement.parameters():
            parameter.zero_()
        for block in refinement.blocks:
            block[1].weight[0, :, 1, 1] = 1
            block[3].weight[0, 0, 1, 1] = 1
    out = refinement(torch.full((1, 1, 1, 1), -2.0), torch.full((1, 1, 1, 1), 5.0))
    assert out.item() == 6.0  # first -2 + relu(relu(-2) + 5) = 3, then 3 + relu(3) = 6


def test_without_history() -> None:
    refinement = Refinement(4, history=0)
    features = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(refinement(features), _written_out(refinement, features, None))


def test_numbers_of_parameters() -> None:
    assert [block[1].in_channels for block in Refinement(256).blocks] == [258, 256, 256]
    conv = 256 * 256 * 9 + 256
    assert sum(p.numel() for p in Refinement(256).parameters()) == 6 * conv + 2 * 256 * 9


def test_gradient_reaches_history_features_and_every_weight() -> None:
    refinement = Refinement(4)
    features = torch.randn(1, 4, 6, 5, requires_grad=True)
    history = torch.rand(1, 2, 3, 3, requires_grad=True)
    refinement(features, history).square().sum().backward()
    assert history.grad is not None
    assert history.grad.any()
    assert features.grad is not None
    assert features.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in refinement.parameters())
