"""Folded backbones, and folded batch-norms that are found by their numbers; trained and random ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.nn.backbones import build_backbone, folded, folded_norms
from fsseg_bench.nn.layout import Layout, VGGLayout
from fsseg_bench.nn.weights import load_weights
from tests.support.networks import changed_keys, copied_state, fold_by_hand, noise_images, norms_of, random_backbone
from tests.support.weights import SMALL, published_resnet18


@pytest.mark.parametrize(
    "name", ["vgg16", "vgg16-bn-conv3", "resnet18", "resnet50", "resnet18-layer3", "resnet50-deep-layer1"]
)
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


class _Standardised(nn.Conv2d):
    """Its weights are standardised on the way."""

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return nn.functional.conv2d(images, weight, self.bias, self.stride, self.padding)


def test_convolutions_that_change_their_weights_keep_their_norms() -> None:
    torch.manual_seed(0)
    backbone = random_backbone("resnet18-layer2")
    kept = _Standardised(64, 64, 3, padding=1, bias=False)
    backbone.set_submodule("layer1.0.conv1", kept)
    hooked = backbone.get_submodule("layer1.1.conv1")
    hooked.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    quick = folded(backbone)
    images = noise_images(1)
    torch.testing.assert_close(quick(images), backbone.eval()(images), rtol=1e-4, atol=1e-4)
    for name in ("layer1.0.bn1", "layer1.1.bn1"):
        assert isinstance(quick.get_submodule(name), nn.BatchNorm2d)
    assert isinstance(quick.get_submodule("layer2.0.bn1"), nn.Identity)


def test_folded_copies_stand_alone() -> None:
    backbone = random_backbone("resnet18-layer3")
    twin = folded(backbone)
    expected = twin(noise_images())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    twin.train()
    assert torch.equal(twin(noise_images()), expected)
    assert torch.equal(folded(twin)(noise_images()), expected)


VGG_BN = Layout((VGGLayout(last="conv2", batch_norm=True),))


@pytest.mark.parametrize(("name", "layout"), [("resnet18-layer3", Layout()), ("vgg16", VGG_BN)])
def test_folding_by_hand_keeps_the_features_and_is_found(name: str, layout: Layout) -> None:
    backbone = random_backbone(name, layout).eval()
    images = noise_images(1, (33, 33))
    with torch.no_grad():
        expected = backbone(images)
        assert folded_norms(backbone) == ()
        fold_by_hand(backbone)
        torch.testing.assert_close(backbone(images), expected, atol=1e-3 * expected.abs().max().item(), rtol=0)
    assert set(folded_norms(backbone)) == set(norms_of(backbone))


def test_a_part_that_is_folded_is_found_alone() -> None:
    backbone = fold_by_hand(random_backbone("resnet18-layer3"), only="layer2.")
    assert set(folded_norms(backbone)) == {name for name in norms_of(backbone) if name.startswith("layer2.")}


def _eps_in_weight(norm: nn.BatchNorm2d) -> None:
    norm.weight.data.fill_((1 + norm.eps) ** 0.5)


def _eps_in_variance(norm: nn.BatchNorm2d) -> None:
    norm.running_var.fill_(1 - norm.eps)


def _shift_in_the_mean(norm: nn.BatchNorm2d) -> None:
    norm.running_mean.copy_(-norm.bias.detach())
    norm.bias.data.zero_()


def _half_precision(norm: nn.BatchNorm2d) -> None:
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.copy_(tensor.half().float())


def _noise(norm: nn.BatchNorm2d) -> None:
    norm.running_var.add_(2e-4 * torch.randn_like(norm.running_var))


def _statistics_alone(norm: nn.BatchNorm2d) -> None:
    norm.weight.data.uniform_(0.2, 3)


def _weight_that_undoes_the_variance(norm: nn.BatchNorm2d) -> None:
    norm.running_var.uniform_(0.2, 3)
    norm.weight.data.copy_((norm.running_var + norm.eps).sqrt())


def _some_dead_channels(norm: nn.BatchNorm2d) -> None:
    for tensor in (norm.weight.data, norm.bias.data, norm.running_var):
        tensor[:20] = 0


@pytest.mark.parametrize(
    "variant",
    [
        *(_eps_in_weight, _eps_in_variance, _shift_in_the_mean, _half_precision, _noise),
        *(_statistics_alone, _weight_that_undoes_the_variance, _some_dead_channels),
    ],
)
def test_variants_of_folding(variant: Callable[[nn.BatchNorm2d], None]) -> None:
    backbone = fold_by_hand(random_backbone(SMALL))
    for norm in norms_of(backbone).values():
        variant(norm)
    assert set(folded_norms(backbone)) == set(norms_of(backbone))


@pytest.mark.parametrize(("name", "layout"), [(SMALL, Layout()), ("vgg16", VGG_BN)])
def test_random_networks_are_not_folded(name: str, layout: Layout, tmp_path: Path) -> None:
    torch.save(build_backbone(name, layout).state_dict(), tmp_path / "random.pth")
    backbone = build_backbone(name, layout)
    load_weights(backbone, str(tmp_path / "random.pth"))
    assert (backbone.filled, backbone.folded_norms) == (True, ())


def test_a_single_training_step_leaves_no_norm_that_looks_folded() -> None:
    backbone = build_backbone("resnet18-layer3").train()
    backbone(noise_images(2, (65, 65)))
    assert folded_norms(backbone) == ()


def test_loading_says_what_came_folded(tmp_path: Path) -> None:
    torch.save(fold_by_hand(random_backbone(SMALL)).state_dict(), tmp_path / "folded.pth")
    torch.save(published_resnet18(), tmp_path / "usual.pth")
    backbone = build_backbone(SMALL)
    assert not backbone.filled
    info = load_weights(backbone, str(tmp_path / "folded.pth"))
    assert backbone.filled
    assert info.details["folded"] == list(backbone.folded_norms)
    assert set(backbone.folded_norms) == set(norms_of(backbone))
    assert "folded" not in load_weights(backbone, str(tmp_path / "usual.pth")).details
    assert backbone.folded_norms == ()


@pytest.mark.real_data
def test_the_real_file(test_data: Path) -> None:
    backbone = build_backbone("resnet18-layer3")
    load_weights(backbone, str(test_data / "weights" / "resnet18_imagenet_layer1-3.pth"))
    assert len(backbone.folded_norms) == 15
    images = _photograph_like()
    with torch.no_grad():
        expected = backbone.eval()(images)
        damaged = backbone.train()(images)
    assert damaged.norm() > 3 * expected.norm()  # what training would have seen


def _photograph_like() -> Tensor:
    return nn.functional.interpolate(noise_images(2, (9, 9)), size=(129, 129), mode="bilinear")
