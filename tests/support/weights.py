"""Made-up published weights, and what loading them does to a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.weights import load_weights
from tests.support.networks import copied_state

SMALL = "resnet18-layer2"
"""A backbone of little size."""


def published_resnet18() -> dict[str, Tensor]:
    """A whole ResNet-18 with the keys that torchvision publishes, and random numbers."""
    torch.manual_seed(3)
    state: dict[str, Tensor] = torchvision.models.resnet18().state_dict()
    for key, tensor in state.items():
        if "running" in key:
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 0:
            tensor.fill_(5)
    return state


def small_trunk() -> dict[str, Tensor]:
    """What ``SMALL`` needs of it."""
    later = ("layer3", "layer4", "fc")
    return {key: tensor for key, tensor in published_resnet18().items() if not key.startswith(later)}


def assert_filled(backbone: Backbone, expected: Mapping[str, Tensor]) -> None:
    """Every tensor of the backbone is the expected one."""
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def refusal(spec: Path | str, name: str = SMALL) -> str:
    """The message with which weights are refused; the backbone has stayed as it was."""
    backbone = build_backbone(name)
    before = copied_state(backbone)
    with pytest.raises(UserError) as caught:
        load_weights(backbone, str(spec))
    assert_filled(backbone, before)
    return str(caught.value)
