"""VGG-16 in the layouts that methods ask for, against torchvision's and convolutions written out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.layout import Layout, VGGLayout
from tests.support.networks import meta_backbone, noise_images, random_backbone

FWB = VGGLayout(batch_norm=True, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 2, 4))
SG_ONE = VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1))
CO_FCN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), first_padding=81)
PLAIN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1))


def _torchvision_vgg(backbone: Backbone, *, batch_norm: bool) -> nn.Sequential:
    """torchvision's features with the backbone's weights."""
    network = torchvision.models.vgg16_bn() if batch_norm else torchvision.models.vgg16()
    features = network.features.eval()
    features.load_state_dict(backbone.features.state_dict())
    return features


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_plain_vgg_is_torchvisions(batch_norm: bool) -> None:
    """Their last pool's output is ours after a ReLU; sizes of which every pool takes half."""
    backbone = random_backbone("vgg16", Layout((dataclasses.replace(PLAIN, batch_norm=batch_norm),))).eval()
    features = _torchvision_vgg(backbone, batch_norm=batch_norm)
    images = noise_images(1, (96, 64))
    with torch.inference_mode():
        signed = backbone(images)
        rectified = backbone.levels(images, ("pool4",))[0]
        torch.testing.assert_close(signed.relu(), features(images), rtol=1e-5, atol=1e-5)
        whole = 33 if batch_norm else 23
        torch.testing.assert_close(rectified, features[: whole + 1](images), rtol=1e-5, atol=1e-5)
    assert signed.min() < 0
    assert signed.shape[-2:] == (3, 2)


def test_names_with_batch_norm_are_torchvisions() -> None:
    backbone = meta_backbone("vgg16", Layout((dataclasses.replace(FWB, classifier=True),)))
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn().state_dict()
    assert {k: t.shape for k, t in backbone.state_dict().items()} == {k: t.shape for k, t in theirs.items()}
    weights = torchvision.models.get_weight(str(backbone.facts.weights))
    head = sum(p.numel() for p in backbone.classifier.parameters())
    assert sum(map(backbone.parameters_of, backbone.stages)) + head == weights.meta["num_params"]


@pytest.mark.parametrize("stated", [None, PLAIN, FWB, dataclasses.replace(PLAIN, pool_strides=(2, 2, 2, 2))])
def test_vgg16_bn_has_batch_norms_in_any_layout(stated: VGGLayout | None) -> None:
    """It is vgg16 whose layout asks for them, also where a method states nothing for a VGG or none of them."""
    layouts = [
        Layout(() if stated is None else (stated,)),
        Layout((dataclasses.replace(stated or VGGLayout(), batch_norm=True),)),
    ]
    own, asked = (random_backbone(name, layout) for name, layout in zip(("vgg16-bn", "vgg16"), layouts, strict=True))
    assert str(own) == str(asked).replace("VGG16(", "VGG16BN(")
    assert own.facts.weights == "VGG16_BN_Weights.IMAGENET1K_V1"
    assert (own.facts.stages, own.state_dict().keys()) == (asked.facts.stages, asked.state_dict().keys())
    with torch.inference_mode():
        images = noise_images(1, (33, 25))
        assert torch.equal(own.eval()(images), asked.eval()(images))


def _vgg_by_hand(backbone: Backbone, layout: VGGLayout, images: Tensor) -> dict[str, Tensor]:
    """Stage outputs, one line a layer; batch-norms with their running statistics."""
    convolutions = iter([m for m in backbone.modules() if isinstance(m, nn.Conv2d)])
    norms = iter([m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)])
    levels = {}
    x = images
    for block, count in enumerate((2, 2, 3, 3, 3)):
        d = layout.dilations[block]
        for i in range(count):
            conv = next(convolutions)
            padding = layout.first_padding if (block, i) == (0, 0) else d
            x = F.conv2d(x, conv.weight, conv.bias, padding=padding, dilation=d)
            if layout.batch_norm:
                n = next(norms)
                x = F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)
            if (block, i) != (4, 2):
                x = F.relu(x)
        levels[f"conv{block + 1}"] = x
        if block < len(layout.pool_strides):
            x = F.max_pool2d(
                x,
                layout.pool_kernel,
                layout.pool_strides[block],
                padding=layout.pool_kernel // 2 if layout.pool_kernel == 3 else 0,
                ceil_mode=layout.pool_kernel == 2,
            )
            levels[f"pool{block + 1}"] = x
    return levels


@pytest.mark.parametrize(
    "layout", [VGGLayout(), FWB, SG_ONE, CO_FCN, dataclasses.replace(FWB, pool_strides=(2, 2, 2, 1))]
)
def test_vggs_by_hand(layout: VGGLayout) -> None:
    backbone = random_backbone("vgg16", Layout((layout,))).eval()
    images = noise_images(1, (33, 25))
    with torch.inference_mode():
        expected = _vgg_by_hand(backbone, layout, images)
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    assert levels.keys() == expected.keys()
    for stage, level in levels.items():
        torch.testing.assert_close(level, expected[stage], rtol=1e-5, atol=1e-5)
        assert (stage, bool(level.min() < 0)) == (stage, stage in {"conv5", "pool5"})
