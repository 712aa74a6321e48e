"""Folded backbones against the ones they were made from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsseg_bench.nn.backbones import folded
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone

SMALL = "resnet18-layer3"


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50", SMALL])
def test_folded_backbones_give_the_same(name: str) -> None:
    backbone = random_backbone(name)
    backbone.train()
    before = copied_state(backbone)
    twin = folded(backbone)
    assert twin.name == name
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert not any(p.requires_grad for p in twin.parameters())
    assert not twin.training
    assert backbone.training
    assert not changed_keys(before, backbone)
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) == (name != "vgg16")
    wide = [p for p in twin.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    backbone.eval()
    with torch.inference_mode():
        expected = backbone.levels(noise_images(2), backbone.stages)
        actual = twin.levels(noise_images(2), twin.stages)
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_folded_copies_stand_alone() -> None:
    backbone = random_backbone(SMALL)
    twin = folded(backbone)
    expected = twin(noise_images())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    twin.train()
    assert torch.equal(twin(noise_images()), expected)
    assert torch.equal(folded(twin)(noise_images()), expected)
