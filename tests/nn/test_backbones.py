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
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded
from fsseg_bench.nn.catalogue import BACKBONES
from tests.support.golden import Golden, load

RESNETS = ["resnet18", "resnet50"]
SMALL = "resnet18-layer3"


def _images(count: int = 1, size: tuple[int, int] = (65, 65), seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def _with_statistics(module: nn.Module) -> nn.Module:
    """The module with batch-norms that do something."""
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.2, generator=generator)
            norm.running_mean.normal_(0, 0.2, generator=generator)
            norm.running_var.uniform_(0.3, 3, generator=generator)
    return module


def _built(name: str, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    backbone = _with_statistics(build_backbone(name))
    assert isinstance(backbone, Backbone)
    return backbone


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def _changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {key for key, tensor in module.state_dict().items() if not torch.equal(before[key], tensor)}


def _train_once(backbone: Backbone) -> None:
    optimiser = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(_images(2, (33, 33))).square().mean().backward()
    optimiser.step()


# --- shapes and counts ---


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_channels_strides_and_parameters(name: str) -> None:
    facts = BACKBONES[name]
    with torch.device("meta"):
        backbone = build_backbone(name)
        features = {size: backbone(torch.empty(2, 3, size, size)).shape for size in (417, 292, 542, 257, 129, 65)}
        levels = backbone.levels(torch.empty(1, 3, 417, 321), backbone.stages)
    assert {size: shape[-2:] for size, shape in features.items()} == {
        417: (53, 53),
        292: (37, 37),
        542: (68, 68),
        257: (33, 33),
        129: (17, 17),
        65: (9, 9),
    }
    assert {shape[:2] for shape in features.values()} == {(2, backbone.out_channels)}
    assert (backbone.name, backbone.stride, backbone.stages[-1]) == (name, 8, facts.stages[-1].name)
    for stage, level in zip(facts.stages, levels, strict=True):
        expected = (1, stage.channels, -(-417 // stage.stride), -(-321 // stage.stride))
        assert (stage.name, level.shape) == (stage.name, expected)
        assert backbone.channels[stage.name] == stage.channels
        assert backbone.strides[stage.name] == stage.stride
        count = sum(p.numel() for m in backbone.stage_modules(stage.name) for p in m.parameters())
        assert (stage.name, count) == (stage.name, stage.parameters)
    assert sum(p.numel() for p in backbone.parameters()) == facts.parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("vgg16", 14_714_688), ("resnet50", 23_508_032), ("resnet101", 42_500_160), (SMALL, 2_782_784)],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build_backbone(name).parameters()) == parameters


@pytest.mark.parametrize(("name", "trunk"), [("vgg16", "features."), ("resnet18", ""), ("resnet50-layer3", "")])
def test_parameter_names_and_shapes_are_torchvisions(name: str, trunk: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, BACKBONES[name].network)()
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
        build_backbone(SMALL).levels(_images(), ("layer4",))
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
    backbone = _built(name).eval()
    images = _images(2)
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
    backbone = _built("resnet18").eval()
    images = _images(2)
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
    whole, cut = _built(name).eval(), build_backbone(f"{name}-{last}").eval()
    cut.load_state_dict(whole.state_dict(), strict=False)
    assert cut.stages == whole.stages[: whole.stages.index(last) + 1]
    with torch.inference_mode():
        signed, rectified = cut(_images()), whole.levels(_images(), (last,))[0]
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
    images = _images(1, (65, 49))
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
    backbone = _built(name).eval()
    images = _images(1, (33, 33))
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
    backbone = _built(SMALL).eval()
    reached = []
    backbone.get_submodule("layer3").register_forward_hook(lambda *_: reached.append("layer3"))
    second, first, again = backbone.levels(_images(), ("layer2", "stem", "layer2"))
    assert (second.shape[1], first.shape[1]) == (128, 64)
    assert torch.equal(second, again)
    assert not reached
    assert backbone.levels(_images(), ()) == ()


# --- what is trained ---


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50-layer2"])
def test_gradients_reach_every_parameter(name: str) -> None:
    backbone = _built(name)
    backbone.train()
    backbone(_images(2, (33, 33))).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "through", "frozen"),
    [
        ("resnet18", "none", ()),
        ("resnet18", "stem", ("conv1.", "bn1.")),
        ("resnet18", "layer2", ("conv1.", "bn1.", "layer1.", "layer2.")),
        ("resnet18", "all", ("",)),
        ("vgg16", "conv2", ("features.0.", "features.2.", "features.5.", "features.7.")),
        ("vgg16", "pool2", ("features.0.", "features.2.", "features.5.", "features.7.")),
    ],
)
def test_freezing(name: str, through: str, frozen: tuple[str, ...]) -> None:
    backbone = _built(name)
    backbone.freeze("all")
    backbone.freeze(through)
    backbone.train()
    features = backbone(_images(2, (33, 33)))
    if features.requires_grad:
        features.square().mean().backward()
    for key, parameter in backbone.named_parameters():
        assert (key, parameter.grad is None) == (key, key.startswith(frozen))


def test_statistics_of_frozen_stages_stay() -> None:
    backbone = _built(SMALL)
    backbone.train()
    backbone.freeze("layer1")
    before = _state(backbone)
    _train_once(backbone)
    changed = _changed(before, backbone)
    assert not {key for key in changed if key.startswith(("conv1.", "bn1.", "layer1."))}
    assert changed == {key for key in before if key.startswith(("layer2.", "layer3."))}


def test_fixed_batch_norm_survives_train() -> None:
    backbone = _built(SMALL)
    backbone.fix_batch_norm(True)
    nn.Sequential(backbone).train()
    assert backbone.training
    before = _state(backbone)
    images = _images(3, (33, 33))
    alone = torch.cat([backbone(image[None]) for image in images])
    torch.testing.assert_close(backbone(images), alone, rtol=1e-4, atol=1e-4)
    _train_once(backbone)
    convolutions = {key for key in before if before[key].ndim == 4}
    assert _changed(before, backbone) == convolutions
    backbone.eval().train()
    assert not any(m.training for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))


def test_batch_norm_is_trained_otherwise() -> None:
    backbone = _built(SMALL)
    backbone.train()
    backbone.fix_batch_norm(True)
    backbone.fix_batch_norm(False)
    before = _state(backbone)
    _train_once(backbone)
    assert _changed(before, backbone) == before.keys()
    backbone.eval()
    before = _state(backbone)
    _train_once(backbone)
    assert not {key for key in _changed(before, backbone) if "running" in key}


def test_freezing_and_fixing_add_up_in_any_order() -> None:
    expected = {
        key for key, tensor in build_backbone(SMALL).state_dict().items() if "layer3" in key and tensor.ndim == 4
    }
    first, second = _built(SMALL), _built(SMALL)
    first.freeze("layer2")
    first.fix_batch_norm(True)
    second.fix_batch_norm(True)
    second.freeze("layer2")
    for backbone in (first, second):
        assert {key for key, p in backbone.named_parameters() if p.requires_grad} == expected


def test_train_and_eval_do_not_touch_gradients() -> None:
    backbone = build_backbone(SMALL).requires_grad_(False)
    backbone.train().eval()
    assert not any(p.requires_grad for p in backbone.parameters())


# --- folding ---


@pytest.mark.parametrize("name", ["vgg16", *RESNETS, SMALL])
def test_folded_backbones_give_the_same(name: str) -> None:
    backbone = _built(name)
    backbone.train()
    before = _state(backbone)
    twin = folded(backbone)
    assert twin.name == name
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert not any(p.requires_grad for p in twin.parameters())
    assert not twin.training
    assert backbone.training
    assert not _changed(before, backbone)
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) == (name != "vgg16")
    wide = [p for p in twin.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    backbone.eval()
    with torch.inference_mode():
        expected = backbone.levels(_images(2), backbone.stages)
        actual = twin.levels(_images(2), twin.stages)
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_folded_copies_stand_alone() -> None:
    backbone = _built(SMALL)
    twin = folded(backbone)
    expected = twin(_images())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    twin.train()
    assert torch.equal(twin(_images()), expected)
    assert torch.equal(folded(twin)(_images()), expected)


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
