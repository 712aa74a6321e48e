"""Which stages are read, in which order, and what the embedding does to them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.mid_level import MidLevel, mid_level_channels, mid_level_features, mid_level_stages
from tests.support.heads import TinyBackbone


@pytest.mark.parametrize(
    ("name", "stages", "channels"),
    [
        ("resnet50", ("layer2", "layer3"), 1536),
        ("resnet18", ("layer2", "layer3"), 384),
        ("resnet18-layer3", ("layer2", "layer3"), 384),
        ("resnet18-layer2", ("layer2",), 128),
        ("vgg16", ("conv5",), 512),
    ],
)
def test_stages(name: str, stages: tuple[str, ...], channels: int) -> None:
    backbone = build_backbone(name)
    assert mid_level_stages(backbone) == stages
    assert mid_level_channels(backbone) == channels
    features = mid_level_features(backbone.eval(), torch.randn(1, 3, 33, 40))
    assert features.shape == (1, channels, 5, 5)
    assert float(features.detach().min()) == 0


def test_stages_of_other_strides_are_not_mixed() -> None:
    backbone = build_backbone("resnet18-layer3")
    backbone.strides["layer3"] = 16
    assert mid_level_stages(backbone) == ("layer3",)
    assert mid_level_stages(TinyBackbone()) == ("conv",)


def test_order_and_embedding() -> None:
    backbone = build_backbone("resnet18-layer3").eval()
    images = torch.randn(2, 3, 33, 40)
    levels = backbone.levels(images, ("layer2", "layer3"))
    middle = MidLevel(backbone, 16).eval()
    convolution = middle.embed[0]
    both = torch.cat((levels[0], levels[1].clamp_min(0)), dim=1)
    expected = F.conv2d(both, convolution.weight, convolution.bias, padding=2, dilation=2).clamp_min(0)
    torch.testing.assert_close(middle(backbone, images), expected)
    assert not [name for name, _ in middle.named_parameters() if "backbone" in name]


def test_numbers_of_parameters() -> None:
    backbone = build_backbone("resnet50")
    count = 1536 * 256 * 9 + 256
    assert sum(p.numel() for p in MidLevel(backbone, 256, dropout=0.5).parameters()) == count
    assert sum(p.numel() for p in MidLevel(backbone, 256, batch_norm=True).parameters()) == count + 512
