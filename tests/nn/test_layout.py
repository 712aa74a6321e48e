"""Backbones laid out otherwise, against torchvision's networks and convolutions written out by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone, laid_out
from fsseg_bench.nn.layout import FamilyLayout, Layout, ResNetLayout, VGGLayout
from tests.support.networks import NAMES, meta_backbone, noise_images, random_backbone, stage_shapes

FWB = VGGLayout(batch_norm=True, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 2, 4))
SG_ONE = VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1))
CO_FCN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), first_padding=81)
PLAIN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1))
CANET = ResNetLayout(dilate_first=True, stride_in_first=True, ceil_pool=True)


# --- layouts themselves ---


def test_it_needs_no_torch() -> None:
    program = "import sys, fsseg_bench.nn.layout; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ResNetLayout, {"output_stride": 4}, "output_stride is 4"),
        (VGGLayout, {"pool_kernel": 4}, "pool_kernel is 4"),
        (VGGLayout, {"pool_strides": (2, 2, 2)}, "pool_strides"),
        (VGGLayout, {"pool_strides": (2, 2, 2, 3)}, "pool_strides"),
        (VGGLayout, {"pool_kernel": 2}, "kernel 2"),
        (VGGLayout, {"dilations": (1, 1, 1, 1)}, "dilations"),
        (VGGLayout, {"dilations": (1, 1, 1, 1, 0)}, "dilations"),
        (VGGLayout, {"first_padding": -1}, "first_padding"),
        (ResNetLayout, {"last": "layer5"}, "layer5"),
        (VGGLayout, {"last": "layer1"}, "layer1"),
        (Layout, {"families": (ResNetLayout(), ResNetLayout(last="stem"))}, "two entries"),
        (Layout, {"max_stride": 0}, "max_stride"),
    ],
)
def test_impossible_layouts(kind: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_the_default_is_what_is_listed() -> None:
    for name in NAMES:
        stated = laid_out(name, Layout((ResNetLayout(), VGGLayout())))
        assert dataclasses.replace(stated, layout=Layout()) == laid_out(name)


LAYOUTS = [
    Layout(),
    Layout((ResNetLayout(output_stride=16), FWB)),
    Layout((ResNetLayout(output_stride=32), PLAIN)),
    Layout((ResNetLayout(last="layer3"), SG_ONE)),
    Layout((CANET, VGGLayout(last="conv4"))),
    Layout((dataclasses.replace(FWB, last="pool4"),)),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_facts_are_those_of_the_network(name: str, layout: Layout) -> None:
    facts = laid_out(name, layout)
    backbone = meta_backbone(name, layout)
    assert backbone.facts == facts
    assert backbone.name == name
    assert sum(p.numel() for p in backbone.parameters()) == sum(map(backbone.parameters_of, backbone.stages))
    for size in ((417, 321), (542, 257)):
        expected = {s.name: (s.channels, *(-(-side // s.stride) for side in size)) for s in facts.stages}
        assert stage_shapes(backbone, *size) == expected
    assert (backbone.out_channels, backbone.stride) == (facts.channels, facts.stride)
    assert backbone.strides == {s.name: s.stride for s in facts.stages}


@pytest.mark.parametrize(
    ("name", "last", "stages"),
    [
        ("resnet50", ResNetLayout(last="layer3"), 4),
        ("resnet50-layer3", ResNetLayout(last="layer3"), 4),
        ("resnet50-layer2", ResNetLayout(last="layer3"), 3),
        ("vgg16", ResNetLayout(last="layer3"), 9),
        ("vgg16", VGGLayout(last="conv4"), 7),
        ("resnet18", ResNetLayout(last=None), 5),
    ],
)
def test_a_deeper_network_is_cut(name: str, last: FamilyLayout, stages: int) -> None:
    assert len(laid_out(name, Layout((last,))).stages) == stages


def test_a_method_that_needs_finer_cells_refuses_coarser_backbones() -> None:
    coarse = ResNetLayout(output_stride=32)
    assert laid_out("resnet50", Layout(max_stride=8)).stride == 8
    assert laid_out("resnet50-layer2", Layout((coarse,), max_stride=8)).stride == 8
    for name in ("resnet50", "resnet50-layer3"):
        with pytest.raises(UserError, match=r"needs at most 8; cut it earlier: --backbone resnet50-layer2"):
            build_backbone(name, Layout((coarse,), max_stride=8))
    with pytest.raises(UserError, match=r"4 image pixels wide, the method needs at most 2$"):
        laid_out("resnet50-stem", Layout(max_stride=2))


def test_a_cut_network_is_the_listed_cut() -> None:
    torch.manual_seed(3)
    cut = build_backbone("resnet18", Layout((ResNetLayout(last="layer3"),))).eval()
    torch.manual_seed(3)
    listed = build_backbone("resnet18-layer3").eval()
    assert cut.state_dict().keys() == listed.state_dict().keys()
    with torch.inference_mode():
        assert torch.equal(cut(noise_images()), listed(noise_images()))


# --- ResNets ---


def _torchvision_trunk(network: nn.Module, images: Tensor) -> list[Tensor]:
    features = [network.maxpool(network.relu(network.bn1(network.conv1(images))))]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        features.append(network.get_submodule(name)(features[-1]))
    return features


@pytest.mark.parametrize(
    ("name", "stride", "replaced"),
    [
        ("resnet50", 8, (False, True, True)),
        ("resnet50", 16, (False, False, True)),
        ("resnet50", 32, (False, False, False)),
        pytest.param("resnet101", 8, (False, True, True), marks=pytest.mark.slow),
        pytest.param("resnet101", 16, (False, False, True), marks=pytest.mark.slow),
        ("resnet18", 32, (False, False, False)),
    ],
)
def test_output_strides_are_torchvisions(name: str, stride: int, replaced: tuple[bool, ...]) -> None:
    backbone = random_backbone(name, Layout((ResNetLayout(output_stride=stride),))).eval()
    network = getattr(torchvision.models, name)(replace_stride_with_dilation=replaced).eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    images = noise_images(1, (97, 65))
    with torch.inference_mode():
        expected = _torchvision_trunk(network, images)
        levels = backbone.levels(images, backbone.stages)
    assert levels[-1].min() < 0
    for ours, theirs in zip((*levels[:-1], levels[-1].relu()), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def _geometry(backbone: Backbone, suffix: str) -> dict[str, tuple[int, int, int]]:
    return {
        name: (module.stride[0], module.dilation[0], module.padding[0])
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d) and name.endswith(suffix)
    }


def test_geometry_of_dilated_stages() -> None:
    """(stride, dilation, padding) by hand."""
    usual = meta_backbone("resnet50", Layout())
    assert _geometry(usual, "layer3.0.conv2") == {"layer3.0.conv2": (1, 1, 1)}
    assert set(_geometry(usual.layer3[1:], "conv2").values()) == {(1, 2, 2)}
    canet = meta_backbone("resnet50", Layout((CANET,)))
    assert set(_geometry(canet.layer3, "conv2").values()) == {(1, 2, 2)}
    assert set(_geometry(canet.layer4, "conv2").values()) == {(1, 4, 4)}
    assert _geometry(canet.layer2[0], "") == {
        "conv1": (2, 1, 0),
        "conv2": (1, 1, 1),
        "conv3": (1, 1, 0),
        "downsample.0": (2, 1, 0),
    }
    basic = meta_backbone("resnet18", Layout((CANET,)))
    assert _geometry(basic.layer2[0], "conv1") == {"conv1": (2, 1, 1)}
    assert set(_geometry(basic.layer3, "conv1").values()) == {(1, 2, 2)}
    assert set(_geometry(basic.layer3, "conv2").values()) == {(1, 2, 2)}


def test_stride_in_first_without_dilation_by_hand() -> None:
    """A block of layer2 and of layer3, strided, one line a layer."""
    layout = Layout((ResNetLayout(last="layer3", output_stride=32, stride_in_first=True),))
    backbone = random_backbone("resnet50", layout).eval()
    block = backbone.layer3[0]
    x = noise_images(1, (13, 9)).repeat(1, 171, 1, 1)[:, :512]
    with torch.inference_mode():
        y = F.relu(block.bn1(F.conv2d(x[..., ::2, ::2], block.conv1.weight)))
        y = F.relu(block.bn2(F.conv2d(y, block.conv2.weight, padding=1)))
        y = block.bn3(F.conv2d(y, block.conv3.weight))
        short = block.downsample[1](F.conv2d(x[..., ::2, ::2], block.downsample[0].weight))
        torch.testing.assert_close(block(x), F.relu(y + short), rtol=1e-5, atol=1e-5)
