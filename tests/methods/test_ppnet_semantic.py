"""The semantic head against its four convolutions written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fsseg_methods._ppnet.semantic import SemanticHead


def test_sum_of_four_dilated_convolutions_of_rectified_features() -> None:
    torch.manual_seed(0)
    head = SemanticHead(5, 4)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, 5, 13, 29)
    expected = torch.zeros(2, 4, 13, 29)
    for branch, dilation in zip(head.branches, (6, 12, 18, 24), strict=True):
        padded = F.pad(features.clamp_min(0), (dilation,) * 4)
        for i in range(3):
            for j in range(3):
                rows, columns = slice(i * dilation, i * dilation + 13), slice(j * dilation, j * dilation + 29)
                expected += torch.einsum("oc,mchw->mohw", branch.weight[:, :, i, j], padded[:, :, rows, columns])
        expected += branch.bias[:, None, None]
    torch.testing.assert_close(head(features), expected, atol=2e-4, rtol=0)


def test_start_and_size() -> None:
    torch.manual_seed(0)
    head = SemanticHead(2048, 16)
    assert sum(p.numel() for p in head.parameters()) == 1_179_712
    assert all(not branch.bias.any() for branch in head.branches)
    assert [branch.weight.std().item() for branch in head.branches] == pytest.approx([0.01] * 4, rel=0.02)


def test_every_convolution_learns_even_on_small_maps() -> None:
    head = SemanticHead(3, 4)
    head(torch.rand(1, 3, 5, 5)).square().sum().backward()
    assert all(p.grad.any() for p in head.parameters())
