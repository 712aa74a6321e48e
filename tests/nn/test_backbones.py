"""Backbones against torchvision's networks, a VGG-16 written out by hand, and the authors' features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone, laid_out
from tests.support.golden import Golden, load
from tests.support.networks import NAMES, noise_images, random_backbone

RESNETS = ["resnet18", "resnet50"]
SMALL = "resnet18-layer3"


# --- shapes and counts ---


@pytest.mark.parametrize("name", NAMES)
def test_shapes_channels_strides_and_parameters(name: str) -> None:
    facts = laid_out(name)
    with torch.device("meta"):
        backbone = build_backbone(name)
        features = {size: backbone(torch.empty(2, 3, size, size)).shape for size in (417, 542, 257, 129)}
        levels = backbone.levels(torch.empty(1, 3, 417, 321), backbone.stages)
    assert {size: shape[-2:] for size, shape in features.items()} == {
        417: (53, 53),
        542: (68, 68),
        257: (33, 33),
        129: (17, 17),
    }
    assert {shape[:2] for shape in features.values()} == {(2, backbone.out_channels)}
    assert (backbone.name, backbone.stride, backbone.stages[-1]) == (name, 8, facts.stages[-1].name)
    for stage, level in zip(facts.stages, levels, strict=True):
        expected = (1, stage.channels, -(-417 // stage.stride), -(-321 // stage.stride))
        assert (stage.name, level.shape) == (stage.name, expected)
        assert backbone.channels[stage.name] == stage.channels
        assert backbone.strides[stage.name] == stage.stride
    assert sum(p.numel() for p in backbone.parameters()) == sum(map(backbone.parameters_of, backbone.stages))


@pytest.mark.parametrize(("name", "trunk"), [("vgg16", "features."), ("resnet18", ""), ("resnet50-layer3", "")])
def test_parameter_names_and_shapes_are_torchvisions(name: str, trunk: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name.partition("-")[0])()
        ours = build_backbone(name).state_dict()
    absent = ("fc.",) if name == "resnet18" else ("fc.", "layer4.")
    theirs = {
        key: tensor.shape
        for key, tensor in network.state_dict().items()
        if key.startswith(trunk) and not key.startswith(absent)
    }
    assert {key: tensor.shape for key, tensor in ours.items()} == theirs


def test_random_initialisation_is_torchvisions() -> None:
    torch.manual_seed(7)
    expected = torchvision.models.resnet18().state_dict()
    torch.manual_seed(7)
    backbone = build_backbone("resnet18")
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())


def test_random_initialisation_of_vgg() -> None:
    """torchvision's rule: He's normal distribution over the outputs, biases zero."""
    torch.manual_seed(0)
    vgg = build_backbone("vgg16")
    for module in vgg.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            deviation = (2 / (9 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(deviation, rel=0.02)
            assert not module.bias.any()
    torch.manual_seed(0)
    again = build_backbone("vgg16").state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in vgg.state_dict().items())


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"unknown backbone 'resnet-50'.*'resnet50'"):
        build_backbone("resnet-50")
    with pytest.raises(UserError, match=r"stage of resnet18-layer3 'layer4'.*layer3"):
        build_backbone(SMALL).levels(noise_images(), ("layer4",))
    with pytest.raises(UserError, match=r"stage of resnet18-layer3 'layer-2'.*'layer2'"):
        build_backbone(SMALL).freeze("layer-2")


# --- the mathematics ---


def _torchvision_levels(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    """torchvision's own dilated network with the same weights: stage outputs, and layer4's sum before its ReLU."""
    kwargs = {"replace_stride_with_dilation": [False, True, True]} if backbone.name != "resnet18" else {}
    network = getattr(torchvision.models, backbone.name)(**kwargs).eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: kept.__setitem__(name, output.clone())

    for stage in backbone.stages:
        (network.maxpool if stage == "stem" else network.get_submodule(stage)).register_forward_hook(keep(stage))
    block = network.layer4[-1]
    (block.bn3 if hasattr(block, "bn3") else block.bn2).register_forward_hook(keep("residual"))
    network.layer4[-2].register_forward_hook(keep("shortcut"))
    with torch.inference_mode():
        network(images)
    return {**kept, "signed": kept["residual"] + kept["shortcut"]}


def _assert_resnet_is_torchvisions(name: str) -> None:
    backbone = random_backbone(name).eval()
    images = noise_images(2)
    expected = _torchvision_levels(backbone, images)
    with torch.inference_mode():
        signed = backbone(images)
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    assert (signed < 0).float().mean() > 0.1
    torch.testing.assert_close(signed, expected["signed"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(signed.relu(), expected["layer4"], rtol=1e-5, atol=1e-5)
    assert torch.equal(levels["layer4"], signed)
    for stage in backbone.stages[:-1]:
        torch.testing.assert_close(levels[stage], expected[stage], rtol=1e-5, atol=1e-5)
        assert levels[stage].min() >= 0


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_dilated_resnets_are_torchvisions_before_the_last_relu(name: str) -> None:
    _assert_resnet_is_torchvisions(name)


def test_resnet18_is_torchvisions_on_a_finer_grid() -> None:
    """torchvision has no dilated ResNet-18: its strided one gives every fourth cell (layer3: every second)."""
    backbone = random_backbone("resnet18").eval()
    images = noise_images(2)
    expected = _torchvision_levels(backbone, images)
    with torch.inference_mode():
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    fine = {"stem": 1, "layer1": 1, "layer2": 1, "layer3": 2}
    for stage, step in fine.items():
        torch.testing.assert_close(levels[stage][..., ::step, ::step], expected[stage], rtol=1e-5, atol=1e-5)
    signed = levels["layer4"][..., ::4, ::4]
    assert signed.min() < 0
    torch.testing.assert_close(signed, expected["signed"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "last"), [("resnet18", "layer2"), ("resnet18", "layer3"), ("resnet50", "layer3")])
def test_a_cut_is_the_network_up_to_there_without_the_last_relu(name: str, last: str) -> None:
    whole, cut = random_backbone(name).eval(), build_backbone(f"{name}-{last}").eval()
    cut.load_state_dict(whole.state_dict(), strict=False)
    assert cut.stages == whole.stages[: whole.stages.index(last) + 1]
    with torch.inference_mode():
        signed, rectified = cut(noise_images()), whole.levels(noise_images(), (last,))[0]
    assert signed.min() < 0
    assert torch.equal(signed.relu(), rectified)


def _vgg_by_hand(weights: list[Tensor], images: Tensor) -> dict[str, Tensor]:
    """PANet's VGG-16, one line a layer."""
    levels = {}
    x = images
    layers = iter(zip(weights[::2], weights[1::2], strict=True))
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        d = 2 if block == 5 else 1
        for i in range(convolutions):
            weight, bias = next(layers)
            x = F.conv2d(x, weight, bias, padding=d, dilation=d)
            if (block, i) != (5, 2):
                x = F.relu(x)
        levels[f"conv{block}"] = x
        if block < 5:
            x = F.max_pool2d(x, 3, stride=2 if block < 4 else 1, padding=1)
            levels[f"pool{block}"] = x
    return levels


def test_vgg_is_panets() -> None:
    backbone = build_backbone("vgg16")
    images = noise_images(1, (65, 49))
    with torch.inference_mode():
        expected = _vgg_by_hand([p.detach() for p in backbone.parameters()], images)
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    assert levels.keys() == expected.keys()
    for stage, level in levels.items():
        torch.testing.assert_close(level, expected[stage], rtol=1e-5, atol=1e-5)
        assert bool(level.min() < 0) == (stage == "conv5")


@pytest.mark.parametrize("name", ["vgg16", *RESNETS])
@pytest.mark.parametrize("grad", [False, True])
def test_later_stages_leave_earlier_outputs_alone(name: str, grad: bool) -> None:
    backbone = random_backbone(name).eval()
    images = noise_images(1, (33, 33))
    given = images.clone()
    with torch.set_grad_enabled(grad):
        together = backbone.levels(images, backbone.stages)
        alone = [backbone.levels(images, (stage,))[0] for stage in backbone.stages]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert torch.equal(images, given)
    if grad:
        sum(level.sum() for level in together).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_levels_come_in_the_order_asked_for_and_stop_there() -> None:
    backbone = random_backbone(SMALL).eval()
    reached = []
    backbone.get_submodule("layer3").register_forward_hook(lambda *_: reached.append("layer3"))
    second, first, again = backbone.levels(noise_images(), ("layer2", "stem", "layer2"))
    assert (second.shape[1], first.shape[1]) == (128, 64)
    assert torch.equal(second, again)
    assert not reached
    assert backbone.levels(noise_images(), ()) == ()


# --- parity with the authors' encoder ---


def _panet_images(golden: Golden) -> Tensor:
    """Supports by way, shot, episode, then queries, built as the case's description says."""
    masks, colours = golden.input("support_mask"), golden.input("colour")
    ways = masks.shape[0]
    supports = golden.input("support_noise")
    tint = colours[:, None, None, :, None, None]
    supports = supports + 2 * masks[..., None, :, :] * tint
    if any(entry["name"] == "support_other" for entry in golden.info["inputs"]):
        other = (golden.input("support_other") == 1) & (masks == 0)
        supports = supports + 2 * other[..., None, :, :] * np.roll(tint, -1, axis=0)
    query_masks = golden.input("query_mask")
    labels = np.zeros(query_masks.shape[1:], int)
    for way in range(ways):
        labels[query_masks[way] == 1] = way + 1
    palette = np.concatenate([np.zeros((1, 3), np.float32), colours])
    queries = golden.input("query_noise") + 2 * palette[labels].transpose(0, 3, 1, 2)
    flat = supports.reshape(-1, *supports.shape[-3:])
    return torch.from_numpy(np.concatenate([flat, queries]).astype(np.float32))


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["panet-1", "panet-2", "panet-3"])
def test_vgg_features_are_the_official_ones(test_data: Path, case: str) -> None:
    golden = load(test_data / "golden", case)
    backbone = build_backbone("vgg16")
    entries = [e for e in golden.info["parameters"] if e["name"].startswith("encoder.")]
    # both list conv1_1 weight, bias, conv1_2 weight, ... in order
    with torch.no_grad():
        for parameter, entry in zip(backbone.parameters(), entries, strict=True):
            drawn = golden.value(entry["name"], tuple(entry["shape"]), entry["kind"])
            assert parameter.shape == drawn.shape
            parameter.copy_(torch.from_numpy(drawn))
        levels = backbone.levels(_panet_images(golden), backbone.stages)
    for stage, level in zip(backbone.stages, levels, strict=True):
        golden.assert_close(f"features.{stage}", level.numpy())
