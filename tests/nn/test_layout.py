"""Backbones laid out otherwise, against torchvision's networks and convolutions written out by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn import catalogue
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded
from fsseg_bench.nn.catalogue import BACKBONES, laid_out
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.weights import load_weights
from tests.support.golden import load
from tests.support.networks import changed_keys, copied_state, noise_images, shuffle_norms

FWB = VGGLayout(batch_norm=True, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 2, 4))
SG_ONE = VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1))
CO_FCN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), first_padding=81)
PLAIN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1))
CANET = ResNetLayout(dilate_first=True, stride_in_first=True, ceil_pool=True)


def _random(name: str, layout: Layout) -> Backbone:
    torch.manual_seed(0)
    backbone = build_backbone(name, layout)
    shuffle_norms(backbone)
    return backbone


def _sizes(backbone: Backbone, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Channels, height and width of every stage's output."""
    with torch.device("meta"):
        levels = backbone.levels(torch.empty(1, 3, height, width), backbone.stages)
    return {stage: tuple(level.shape[1:]) for stage, level in zip(backbone.stages, levels, strict=True)}


def _meta(name: str, layout: Layout) -> Backbone:
    with torch.device("meta"):
        return build_backbone(name, layout)


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
        (Layout, {"last": "layer5"}, "layer5"),
    ],
)
def test_impossible_layouts(kind: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_the_default_is_what_is_listed() -> None:
    assert Layout() == Layout(None, ResNetLayout(), VGGLayout())
    assert {name: laid_out(name) for name in BACKBONES} == dict(BACKBONES)
    with pytest.raises(UserError, match=r"unknown backbone 'resnet-50'.*'resnet50'"):
        laid_out("resnet-50")


LAYOUTS = [
    Layout(resnet=ResNetLayout(output_stride=16), vgg=FWB),
    Layout(resnet=ResNetLayout(output_stride=32), vgg=PLAIN),
    Layout(last="layer3", vgg=SG_ONE),
    Layout(last="conv4", resnet=CANET),
    Layout(last="pool4", vgg=FWB),
]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_facts_are_those_of_the_network(name: str, layout: Layout) -> None:
    facts = laid_out(name, layout)
    backbone = _meta(name, layout)
    assert backbone.facts == facts
    assert (backbone.name, facts.name) == (name, name)
    assert sum(p.numel() for p in backbone.parameters()) == facts.parameters
    for stage in facts.stages:
        count = sum(p.numel() for m in backbone.stage_modules(stage.name) for p in m.parameters())
        assert (stage.name, count) == (stage.name, stage.parameters)
    expected = {s.name: (s.channels, -(-417 // s.stride), -(-321 // s.stride)) for s in facts.stages}
    assert _sizes(backbone, 417, 321) == expected
    assert (backbone.out_channels, backbone.stride) == (facts.channels, facts.stride)
    assert backbone.strides == {s.name: s.stride for s in facts.stages}


@pytest.mark.parametrize(
    ("name", "last", "stages"),
    [
        ("resnet50", "layer3", 4),
        ("resnet50-layer3", "layer3", 4),
        ("resnet50-layer2", "layer3", 3),
        ("vgg16", "layer3", 9),
        ("vgg16", "conv4", 7),
        ("resnet18", None, 5),
    ],
)
def test_a_deeper_network_is_cut(name: str, last: str | None, stages: int) -> None:
    assert len(laid_out(name, Layout(last=last)).stages) == stages


def test_a_cut_network_is_the_listed_cut() -> None:
    torch.manual_seed(3)
    cut = build_backbone("resnet18", Layout(last="layer3")).eval()
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
        ("resnet101", 16, (False, False, True)),
        ("resnet18", 32, (False, False, False)),
    ],
)
def test_output_strides_are_torchvisions(name: str, stride: int, replaced: tuple[bool, ...]) -> None:
    backbone = _random(name, Layout(resnet=ResNetLayout(output_stride=stride))).eval()
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
    usual = _meta("resnet50", Layout())
    assert _geometry(usual, "layer3.0.conv2") == {"layer3.0.conv2": (1, 1, 1)}
    assert set(_geometry(usual.layer3[1:], "conv2").values()) == {(1, 2, 2)}
    canet = _meta("resnet50", Layout(resnet=CANET))
    assert set(_geometry(canet.layer3, "conv2").values()) == {(1, 2, 2)}
    assert set(_geometry(canet.layer4, "conv2").values()) == {(1, 4, 4)}
    assert _geometry(canet.layer2[0], "") == {
        "conv1": (2, 1, 0),
        "conv2": (1, 1, 1),
        "conv3": (1, 1, 0),
        "downsample.0": (2, 1, 0),
    }
    basic = _meta("resnet18", Layout(resnet=CANET))
    assert _geometry(basic.layer2[0], "conv1") == {"conv1": (2, 1, 1)}
    assert set(_geometry(basic.layer3, "conv1").values()) == {(1, 2, 2)}
    assert set(_geometry(basic.layer3, "conv2").values()) == {(1, 2, 2)}


def test_stride_in_first_without_dilation_by_hand() -> None:
    """A block of layer2 and of layer3, strided, one line a layer."""
    layout = Layout(last="layer3", resnet=ResNetLayout(output_stride=32, stride_in_first=True))
    backbone = _random("resnet50", layout).eval()
    block = backbone.layer3[0]
    x = noise_images(1, (13, 9)).repeat(1, 171, 1, 1)[:, :512]
    with torch.inference_mode():
        y = F.relu(block.bn1(F.conv2d(x[..., ::2, ::2], block.conv1.weight)))
        y = F.relu(block.bn2(F.conv2d(y, block.conv2.weight, padding=1)))
        y = block.bn3(F.conv2d(y, block.conv3.weight))
        short = block.downsample[1](F.conv2d(x[..., ::2, ::2], block.downsample[0].weight))
        torch.testing.assert_close(block(x), F.relu(y + short), rtol=1e-5, atol=1e-5)


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["canet-1", "canet-2"])
def test_features_of_canet_are_the_official_ones(test_data: Path, case: str) -> None:
    golden = load(test_data / "golden", case)
    backbone = build_backbone("resnet50", Layout(last="layer3", resnet=CANET)).eval()
    state = backbone.state_dict()
    entries = [entry for entry in golden.info["parameters"] if entry["name"] in state]
    with torch.no_grad():
        for entry in entries:
            drawn = torch.from_numpy(golden.value(entry["name"], tuple(entry["shape"]), entry["kind"]))
            state[entry["name"]].copy_(drawn * entry.get("scale", 1))
        middle, signed = backbone.levels(torch.from_numpy(golden.input("query_rgb")), ("layer2", "layer3"))
    assert len(entries) == len([key for key in state if not key.endswith("num_batches_tracked")])
    for name, actual in (("backbone.layer2", middle), ("backbone.layer3", signed.relu())):
        entry = next(e for e in golden.info["outputs"] if e["name"] == name)
        kept = actual.flatten()[:: entry["k"]]
        worst = (kept - torch.from_numpy(golden.stored[name]).flatten()).abs().max()
        assert worst <= 1e-4 * entry["max_abs"]
        assert list(actual.shape) == entry["shape"]


# --- VGG-16 ---


def _torchvision_vgg(backbone: Backbone, *, batch_norm: bool) -> nn.Sequential:
    """torchvision's features with the backbone's weights."""
    network = torchvision.models.vgg16_bn() if batch_norm else torchvision.models.vgg16()
    features = network.features.eval()
    features.load_state_dict(backbone.features.state_dict())
    return features


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_plain_vgg_is_torchvisions(batch_norm: bool) -> None:
    """Their last pool's output is ours after a ReLU; sizes of which every pool takes half."""
    backbone = _random("vgg16", Layout(vgg=dataclasses.replace(PLAIN, batch_norm=batch_norm))).eval()
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
    backbone = _meta("vgg16", Layout(vgg=dataclasses.replace(FWB, classifier=True)))
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn().state_dict()
    assert {k: t.shape for k, t in backbone.state_dict().items()} == {k: t.shape for k, t in theirs.items()}
    weights = torchvision.models.get_weight(backbone.facts.weights_enum)
    assert weights.url.rpartition("/")[2] == backbone.facts.weights_file
    head = sum(p.numel() for p in backbone.classifier.parameters())
    assert backbone.facts.parameters + head == weights.meta["num_params"]


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


@pytest.mark.parametrize("layout", [FWB, SG_ONE, CO_FCN, dataclasses.replace(FWB, pool_strides=(2, 2, 2, 1))])
def test_vggs_by_hand(layout: VGGLayout) -> None:
    backbone = _random("vgg16", Layout(vgg=layout)).eval()
    images = noise_images(1, (33, 25))
    with torch.inference_mode():
        expected = _vgg_by_hand(backbone, layout, images)
        levels = dict(zip(backbone.stages, backbone.levels(images, backbone.stages), strict=True))
    assert levels.keys() == expected.keys()
    for stage, level in levels.items():
        torch.testing.assert_close(level, expected[stage], rtol=1e-5, atol=1e-5)
        assert (stage, bool(level.min() < 0)) == (stage, stage in {"conv5", "pool5"})


def test_shapes_of_published_vggs() -> None:
    """The figures that the authors' networks give."""
    fwb = _sizes(_meta("vgg16", Layout(vgg=FWB)), 512, 512)
    assert (fwb["pool2"], fwb["pool5"]) == ((128, 128, 128), (512, 64, 64))
    sg_one = _meta("vgg16", Layout(vgg=SG_ONE))
    for size, cells in ((321, 41), (500, 63)):
        taps = _sizes(sg_one, size, size)
        assert [taps[f"pool{i}"] for i in (3, 4, 5)] == [(c, cells, cells) for c in (256, 512, 512)]
    co_fcn = _meta("vgg16", Layout(vgg=CO_FCN))
    for size, cells in ((500, 15), (417, 13), (321, 10), (65, 2)):
        assert _sizes(co_fcn, size, size)["pool5"][1] - 6 == cells
    oslsm = _sizes(_meta("vgg16", Layout(vgg=dataclasses.replace(CO_FCN, first_padding=121))), 500, 500)
    assert [oslsm["conv1"][1], *(oslsm[f"pool{i}"][1] for i in range(1, 6))] == [740, 370, 185, 93, 47, 24]


# --- training, folding, weights ---


def test_batch_norms_of_vgg_are_trained_fixed_and_frozen() -> None:
    backbone = _random("vgg16", Layout(vgg=FWB))
    norms = {name for name, module in backbone.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert len(norms) == 13
    backbone.freeze("pool2")
    backbone.set_batch_norm("train")
    backbone.train()
    frozen = {key for key in backbone.state_dict() if int(key.split(".")[1]) < 14}
    before = copied_state(backbone)
    _train_once(backbone)
    assert changed_keys(before, backbone) == before.keys() - frozen
    backbone.set_batch_norm("eval")
    before = copied_state(backbone)
    _train_once(backbone)
    assert changed_keys(before, backbone) == {k for k in before.keys() - frozen if k.rpartition(".")[0] not in norms}


def _train_once(backbone: Backbone) -> None:
    trained = [p for p in backbone.parameters() if p.requires_grad]
    loss = backbone(noise_images(2, (33, 33))).square().mean()
    if trained:
        loss.backward()
        torch.optim.SGD(trained, lr=0.1).step()
        backbone.zero_grad()


@pytest.mark.parametrize("freeze", ["none", "all"])
def test_moving_statistics_alone(freeze: str) -> None:
    backbone = _random("resnet18-layer2", Layout())
    backbone.freeze(freeze)
    backbone.set_batch_norm("stats")
    backbone.train()
    before = copied_state(backbone)
    images = noise_images(2, (33, 33))
    _train_once(backbone)
    statistics = {key for key in before if "running" in key or key.endswith("num_batches_tracked")}
    convolutions = {key for key in before if before[key].ndim == 4}
    assert changed_keys(before, backbone) == statistics | (convolutions if freeze == "none" else set())
    batch = F.conv2d(images, before["conv1.weight"], stride=2, padding=3)
    expected = 0.9 * before["bn1.running_mean"] + 0.1 * batch.mean(dim=(0, 2, 3))
    torch.testing.assert_close(backbone.bn1.running_mean, expected, rtol=1e-4, atol=1e-5)
    assert not backbone.bn1.weight.requires_grad
    backbone.eval()
    before = copied_state(backbone)
    _train_once(backbone)
    assert not changed_keys(before, backbone) & statistics
    backbone.fix_batch_norm(False)
    assert backbone.bn1.weight.requires_grad == (freeze == "none")


@pytest.mark.parametrize("layout", [Layout(vgg=FWB), Layout(last="conv4", vgg=FWB), Layout(last="pool1", vgg=FWB)])
def test_folded_vggs_give_the_same(layout: Layout) -> None:
    backbone = _random("vgg16", layout).eval()
    twin = folded(backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    images = noise_images(2, (33, 25))
    with torch.inference_mode():
        pairs = zip(twin.levels(images, twin.stages), backbone.levels(images, backbone.stages), strict=True)
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_the_classifier_belongs_to_no_stage() -> None:
    backbone = build_backbone("vgg16", Layout(last="conv1", vgg=dataclasses.replace(PLAIN, classifier=True)))
    assert backbone.stage_of("classifier.0.weight") is None
    backbone.freeze("conv1")
    assert {k for k, p in backbone.named_parameters() if p.requires_grad} == {
        f"classifier.{place}.{kind}" for place in (0, 3, 6) for kind in ("weight", "bias")
    }
    backbone.freeze("all")
    assert not any(p.requires_grad for p in backbone.parameters())
    backbone.freeze("none")
    assert all(p.requires_grad for p in backbone.parameters())


def _small_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.nn.backbones.vgg._WIDTH", 4)
    monkeypatch.setattr("fsseg_bench.nn.backbones.vgg._SIDE", 1)


def test_weights_fill_the_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small_classifier(monkeypatch)
    layout = Layout(last="conv2", vgg=dataclasses.replace(PLAIN, classifier=True))
    given = copied_state(build_backbone("vgg16", layout))
    torch.save(given, tmp_path / "whole.pth")
    backbone = build_backbone("vgg16", layout)
    info = load_weights(backbone, str(tmp_path / "whole.pth"))
    assert not changed_keys(given, backbone)
    assert (info.details["unused"], info.details["missing"]) == ([], [])
    torch.save({k: t for k, t in given.items() if "classifier" not in k}, tmp_path / "trunk.pth")
    with pytest.raises(UserError, match=r"classifier.0.weight: missing.*needs the network's classifier"):
        load_weights(backbone, str(tmp_path / "trunk.pth"))
    load_weights(build_backbone("vgg16", Layout(last="conv1")), str(tmp_path / "whole.pth"))


def test_weights_with_and_without_batch_norm_are_told_apart(tmp_path: Path) -> None:
    kinds = {norm: Layout(last="conv2", vgg=dataclasses.replace(PLAIN, batch_norm=norm)) for norm in (False, True)}
    for norm, layout in kinds.items():
        torch.save(build_backbone("vgg16", layout).state_dict(), tmp_path / f"{norm}.pth")
    load_weights(build_backbone("vgg16", kinds[True]), str(tmp_path / "True.pth"))
    for norm, layout in kinds.items():
        with pytest.raises(UserError, match=r"do not fit vgg16"):
            load_weights(build_backbone("vgg16", layout), str(tmp_path / f"{not norm}.pth"))


def test_imagenet_weights_are_those_of_the_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks for vgg16_bn's file, and for a whole ResNet's where a layout cuts it."""
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    wanted = {
        "vgg16_bn-6c64b313.pth": ("vgg16", Layout(vgg=FWB)),
        "vgg16-397923af.pth": ("vgg16", Layout(vgg=SG_ONE)),
        "resnet18-f37072fd.pth": ("resnet18", Layout(last="layer2")),
    }
    for file, (name, layout) in wanted.items():
        (tmp_path / file).write_bytes(b"half a download")
        with pytest.raises(UserError, match=f"{file} is not the published file"):
            load_weights(build_backbone(name, layout), "imagenet")
        (tmp_path / file).unlink()
    assert catalogue.laid_out("vgg16", Layout(vgg=FWB)).weights_hash == "6c64b313"
