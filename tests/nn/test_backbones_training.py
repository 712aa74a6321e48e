"""Which parts of a backbone are trained, and which statistics move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsseg_bench.nn.backbones import Backbone, build_backbone
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone

SMALL = "resnet18-layer3"


def _train_once(backbone: Backbone) -> None:
    optimiser = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(noise_images(2, (33, 33))).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50-layer2"])
def test_gradients_reach_every_parameter(name: str) -> None:
    backbone = random_backbone(name)
    backbone.train()
    backbone(noise_images(2, (33, 33))).square().mean().backward()
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
    backbone = random_backbone(name)
    backbone.freeze("all")
    backbone.freeze(through)
    backbone.train()
    features = backbone(noise_images(2, (33, 33)))
    if features.requires_grad:
        features.square().mean().backward()
    for key, parameter in backbone.named_parameters():
        assert (key, parameter.grad is None) == (key, key.startswith(frozen))


def test_statistics_of_frozen_stages_stay() -> None:
    backbone = random_backbone(SMALL)
    backbone.train()
    backbone.freeze("layer1")
    before = copied_state(backbone)
    _train_once(backbone)
    changed = changed_keys(before, backbone)
    assert not {key for key in changed if key.startswith(("conv1.", "bn1.", "layer1."))}
    assert changed == {key for key in before if key.startswith(("layer2.", "layer3."))}


def test_fixed_batch_norm_survives_train() -> None:
    backbone = random_backbone(SMALL)
    backbone.set_batch_norm("eval")
    nn.Sequential(backbone).train()
    assert backbone.training
    before = copied_state(backbone)
    images = noise_images(3, (33, 33))
    alone = torch.cat([backbone(image[None]) for image in images])
    torch.testing.assert_close(backbone(images), alone, rtol=1e-4, atol=1e-4)
    _train_once(backbone)
    convolutions = {key for key in before if before[key].ndim == 4}
    assert changed_keys(before, backbone) == convolutions
    backbone.eval().train()
    assert not any(m.training for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))


def test_batch_norm_is_trained_otherwise() -> None:
    backbone = random_backbone(SMALL)
    backbone.train()
    backbone.set_batch_norm("eval")
    backbone.set_batch_norm("train")
    before = copied_state(backbone)
    _train_once(backbone)
    assert changed_keys(before, backbone) == before.keys()
    backbone.eval()
    before = copied_state(backbone)
    _train_once(backbone)
    assert not {key for key in changed_keys(before, backbone) if "running" in key}


def test_freezing_and_fixing_add_up_in_any_order() -> None:
    expected = {
        key for key, tensor in build_backbone(SMALL).state_dict().items() if "layer3" in key and tensor.ndim == 4
    }
    first, second = random_backbone(SMALL), random_backbone(SMALL)
    first.freeze("layer2")
    first.set_batch_norm("eval")
    second.set_batch_norm("eval")
    second.freeze("layer2")
    for backbone in (first, second):
        assert {key for key, p in backbone.named_parameters() if p.requires_grad} == expected


def test_train_and_eval_do_not_touch_gradients() -> None:
    backbone = build_backbone(SMALL).requires_grad_(False)
    backbone.train().eval()
    assert not any(p.requires_grad for p in backbone.parameters())
