"""What a method adds to a backbone is never frozen: layers, replaced layers, a widened first convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fsseg_bench.nn.backbones import build_backbone, folded
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone

SMALL = "resnet18-layer2"


@pytest.mark.parametrize("last_call", ["freeze", "set_batch_norm"])
@pytest.mark.parametrize("copied", [False, True])
def test_added_and_replaced_layers_learn(last_call: str, copied: bool) -> None:
    backbone = build_backbone(SMALL)
    backbone.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    backbone.bn1 = nn.BatchNorm2d(64)
    backbone.layer1.append(nn.Conv2d(64, 64, 1))
    backbone.layer2[0].conv1.weight = nn.Parameter(torch.randn(128, 64, 3, 3))
    backbone.add_module("extra", nn.Conv2d(128, 128, 1))
    backbone = copy.deepcopy(backbone) if copied else backbone
    backbone.freeze("all")
    backbone.set_batch_norm("eval")
    if last_call == "freeze":
        backbone.freeze("all")
    backbone.train()
    learning = {key for key, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {
        *("conv1.weight", "bn1.weight", "bn1.bias", "layer1.2.weight", "layer1.2.bias", "layer2.0.conv1.weight"),
        *("extra.weight", "extra.bias"),
    }
    assert {name for name, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training} == {"bn1"}


@pytest.mark.parametrize("through", ["stem", "layer1", "all"])
def test_a_widened_convolution_learns_and_what_is_frozen_stays(through: str) -> None:
    backbone = random_backbone(SMALL)
    first = backbone.conv1
    first.weight = nn.Parameter(torch.randn(64, 5, 7, 7))
    first.in_channels = 5
    backbone.freeze(through)
    backbone.set_batch_norm("eval")
    backbone.train()
    before = copied_state(backbone)
    images = torch.cat((noise_images(2, (33, 33)), noise_images(2, (33, 33), 1)[:, :2]), dim=1)
    optimiser = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    backbone(images).square().mean().backward()
    optimiser.step()
    later = {"stem": ("layer1.", "layer2."), "layer1": ("layer2.",), "all": ()}[through]
    convolutions = {key for key in before if before[key].ndim == 4}
    assert changed_keys(before, backbone) == {"conv1.weight", *(k for k in convolutions if k.startswith(later))}


def test_a_new_part_that_the_method_holds_still_stays_so() -> None:
    backbone = build_backbone(SMALL)
    backbone.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False).requires_grad_(False)
    backbone.freeze("none")
    assert [key for key, p in backbone.named_parameters() if not p.requires_grad] == ["conv1.weight"]


def test_a_folded_copy_lets_go_of_what_it_replaced() -> None:
    twin = folded(build_backbone(SMALL))
    kept = [part for value in vars(twin).values() if isinstance(value, list) for part in value]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in kept)
