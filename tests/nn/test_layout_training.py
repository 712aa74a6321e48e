"""Laid-out backbones: training, folding, and filling with weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded, laid_out
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.weights import load_weights
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone

FWB = VGGLayout(batch_norm=True, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 2, 4))
SG_ONE = VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1))
PLAIN = VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1))


def test_batch_norms_of_vgg_are_trained_fixed_and_frozen() -> None:
    backbone = random_backbone("vgg16", Layout((FWB,)))
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
    backbone = random_backbone("resnet18-layer2", Layout())
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
    backbone.set_batch_norm("train")
    assert backbone.bn1.weight.requires_grad == (freeze == "none")


@pytest.mark.parametrize(
    "layout",
    [
        Layout((FWB,)),
        Layout((dataclasses.replace(FWB, last="conv4"),)),
        Layout((dataclasses.replace(FWB, last="pool1"),)),
    ],
)
def test_folded_vggs_give_the_same(layout: Layout) -> None:
    backbone = random_backbone("vgg16", layout).eval()
    twin = folded(backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    images = noise_images(2, (33, 25))
    with torch.inference_mode():
        pairs = zip(twin.levels(images, twin.stages), backbone.levels(images, backbone.stages), strict=True)
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_the_classifier_belongs_to_no_stage() -> None:
    backbone = build_backbone("vgg16", Layout((dataclasses.replace(PLAIN, last="conv1", classifier=True),)))
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
    layout = Layout((dataclasses.replace(PLAIN, last="conv2", classifier=True),))
    given = copied_state(build_backbone("vgg16", layout))
    torch.save(given, tmp_path / "whole.pth")
    backbone = build_backbone("vgg16", layout)
    info = load_weights(backbone, str(tmp_path / "whole.pth"))
    assert not changed_keys(given, backbone)
    assert (info.details["unused"], info.details["missing"]) == ([], [])
    torch.save({k: t for k, t in given.items() if "classifier" not in k}, tmp_path / "trunk.pth")
    with pytest.raises(UserError, match=r"classifier.0.weight: missing.*needs the network's classifier"):
        load_weights(backbone, str(tmp_path / "trunk.pth"))
    load_weights(build_backbone("vgg16", Layout((VGGLayout(last="conv1"),))), str(tmp_path / "whole.pth"))


def test_weights_with_and_without_batch_norm_are_told_apart(tmp_path: Path) -> None:
    kinds = {norm: Layout((dataclasses.replace(PLAIN, last="conv2", batch_norm=norm),)) for norm in (False, True)}
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
        "vgg16_bn-6c64b313.pth": ("vgg16", Layout((FWB,))),
        "vgg16-397923af.pth": ("vgg16", Layout((SG_ONE,))),
        "resnet18-f37072fd.pth": ("resnet18", Layout((ResNetLayout(last="layer2"),))),
    }
    for file, (name, layout) in wanted.items():
        (tmp_path / file).write_bytes(b"half a download")
        with pytest.raises(UserError, match=f"{file} is not the published file"):
            load_weights(build_backbone(name, layout), "imagenet")
        (tmp_path / file).unlink()
    assert laid_out("vgg16", Layout((FWB,))).weights == "VGG16_BN_Weights.IMAGENET1K_V1"
