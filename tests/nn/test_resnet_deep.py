"""ResNets with a deep stem: torchvision's blocks behind a stem written out, and files in both styles of names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from fsseg_bench.errors import NotHereError
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.layout import Layout, ResNetLayout
from fsseg_bench.nn.weights import load_weights
from tests.support.networks import meta_backbone, noise_images, random_backbone
from tests.support.weights import assert_filled, refusal

SMALL = "resnet50-deep-layer2"


def _reference(depth: int) -> nn.Module:
    """torchvision's network, whose own builder makes a layer1 that reads 128 channels; its stem is not used."""
    network = getattr(torchvision.models, f"resnet{depth}")(replace_stride_with_dilation=(False, True, True))
    network.inplanes, network.dilation = 128, 1
    network.layer1 = network._make_layer(Bottleneck, 64, 3)
    return network


def _stem_by_hand(state: dict[str, Tensor], images: Tensor, *, ceil: bool = False) -> Tensor:
    """One line a layer; batch-norms with their running statistics."""
    x = images
    for i, stride in enumerate((2, 1, 1), start=1):
        x = F.conv2d(x, state[f"conv{i}.weight"], stride=stride, padding=1)
        norm = (state[f"bn{i}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *norm).relu()
    return F.max_pool2d(x, 3, 2, 1, ceil_mode=ceil)


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.slow)])
def test_it_is_torchvisions_behind_another_stem(depth: int) -> None:
    backbone = random_backbone(f"resnet{depth}-deep").eval()
    network = _reference(depth).eval()
    blocks = {key: tensor for key, tensor in backbone.state_dict().items() if key.startswith("layer")}
    assert all(key.startswith(("conv1", "bn1", "fc")) for key in network.load_state_dict(blocks, strict=False)[0])
    images = noise_images(1, (97, 65))
    with torch.inference_mode():
        expected = [_stem_by_hand(backbone.state_dict(), images)]
        for name in ("layer1", "layer2", "layer3", "layer4"):
            expected.append(network.get_submodule(name)(expected[-1]))
        levels = backbone.levels(images, backbone.stages)
    assert levels[-1].min() < 0
    for ours, theirs in zip((*levels[:-1], levels[-1].relu()), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ceil", [False, True])
def test_the_stem_follows_the_layout_and_can_be_cut(ceil: bool) -> None:
    backbone = random_backbone("resnet50-deep", Layout((ResNetLayout(last="stem", ceil_pool=ceil),))).eval()
    images = noise_images(1, (34, 25))
    with torch.inference_mode():
        signed, expected = backbone(images), _stem_by_hand(backbone.state_dict(), images, ceil=ceil)
    assert signed.min() < 0
    torch.testing.assert_close(signed.relu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "stem"), [(50, 112_832), (101, 112_832)])
def test_parameters_by_hand(depth: int, stem: int) -> None:
    """27 and 576 weights a channel, three norms; further on, two 1x1 convolutions read 64 channels more."""
    assert stem == 27 * 64 + 9 * 64 * 64 + 9 * 64 * 128 + 2 * (64 + 64 + 128)
    deep, usual = meta_backbone(f"resnet{depth}-deep"), meta_backbone(f"resnet{depth}")
    assert deep.parameters_of("stem") == stem
    assert deep.parameters_of("layer1") - usual.parameters_of("layer1") == 64 * 64 + 64 * 256
    assert deep.channels == {**usual.channels, "stem": 128}


def test_random_initialisation() -> None:
    """He's normal distribution over the outputs, as the other convolutions have it; norms do nothing."""
    torch.manual_seed(0)
    backbone = build_backbone(SMALL)
    for name in ("conv2", "conv3", "layer1.0.conv1", "layer1.0.downsample.0", "layer2.0.conv2"):
        convolution = backbone.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        deviation = (2 / (convolution.out_channels * convolution.kernel_size[0] ** 2)) ** 0.5
        assert convolution.weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert bool((backbone.state_dict()["bn3.weight"] == 1).all())


# --- weight files ---

SEQUENCE = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv1.3",
    "bn2": "conv1.4",
    "conv3": "conv1.6",
    "bn3": "bn1",
}


def _published(backbone: Backbone, style: str, prefix: str = "") -> dict[str, Tensor]:
    """The backbone's tensors as others name them, with a classifier."""
    renamed = {}
    for key, tensor in backbone.state_dict().items():
        module, _, parameter = key.rpartition(".")
        name = SEQUENCE.get(module, module) if style == "sequence" else module
        renamed[f"{prefix}{name}.{parameter}"] = tensor
    return {**renamed, f"{prefix}fc.weight": torch.ones(1000, 2048), f"{prefix}fc.bias": torch.ones(1000)}


@pytest.mark.parametrize("style", ["numbered", "sequence"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_styles_of_names(style: str, prefix: str, tmp_path: Path) -> None:
    given = random_backbone(SMALL, seed=3)
    torch.save({"state_dict": _published(given, style, prefix)}, tmp_path / "w.pth")
    backbone = build_backbone(SMALL)
    info = load_weights(backbone, str(tmp_path / "w.pth"))
    assert_filled(backbone, given.state_dict())
    assert info.details["unused"] == ["fc.bias", "fc.weight"]
    assert info.details["missing"] == []


def _without_the_last_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith("bn1.")}


def _with_a_layer_more(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "conv1.7.weight": torch.ones(128)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_the_last_norm, "bn3.weight: missing"),
        (_with_a_layer_more, "conv1.7.weight: the backbone has no such layer"),
    ],
)
def test_files_that_do_not_fit(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str, tmp_path: Path
) -> None:
    torch.save(change(_published(random_backbone(SMALL), "sequence")), tmp_path / "w.pth")
    assert message in refusal(tmp_path / "w.pth", SMALL)


def test_usual_and_deep_stems_do_not_pass_for_each_other(tmp_path: Path) -> None:
    torch.save(random_backbone("resnet50-layer2").state_dict(), tmp_path / "usual.pth")
    assert "conv1.weight: shape (64, 3, 7, 7), needed (64, 3, 3, 3)" in refusal(tmp_path / "usual.pth", SMALL)
    for style in ("numbered", "sequence"):
        torch.save(_published(random_backbone(SMALL), style), tmp_path / "deep.pth")
        assert "conv1.weight: " in refusal(tmp_path / "deep.pth", "resnet50-layer2")


@pytest.mark.parametrize(
    ("name", "file"), [("resnet50-deep", "resnet50_v1s-17"), ("resnet101-deep", "resnet101_v1s-60")]
)
def test_published_weights_are_known_by_their_sum(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the published name whose content is another one is refused."""
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    backbone = meta_backbone(name)
    url = str(backbone.facts.weights_url)
    assert url.rpartition("/")[2].startswith(f"gluon_{file}")
    (tmp_path / url.rpartition("/")[2]).write_bytes(b"half a download")
    assert "is not the published file" in refusal("imagenet", name)


def test_published_weights_are_found_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    given = random_backbone(SMALL, seed=3)
    torch.save(_published(given, "sequence"), tmp_path / "new.pth")
    digest = hashlib.sha256((tmp_path / "new.pth").read_bytes()).hexdigest()
    backbone = build_backbone(SMALL)
    url = f"https://nowhere.invalid/mine-{digest[:8]}.pth"
    backbone.facts = dataclasses.replace(backbone.facts, weights_url=url)
    with pytest.raises(NotHereError, match=rf"cannot download mine-{digest[:8]}.pth from {url}"):
        load_weights(backbone, "imagenet")
    (tmp_path / "new.pth").rename(tmp_path / f"mine-{digest[:8]}.pth")
    info = load_weights(backbone, "imagenet")
    assert_filled(backbone, given.state_dict())
    assert (info.source, info.digest) == ("resnet50s.gluon_in1k", digest)
