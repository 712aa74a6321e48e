"""The support of these tests that copies random ResNet-18s: the same numbers, and the same numbers after them."""

from __future__ import annotations

import pytest
import torch
import torchvision

from fsseg_bench.nn.backbones import resnet
from fsseg_bench.nn.catalogue import find_backbone


@pytest.mark.parametrize("seed", [3, 4])
def test_copies_are_what_would_be_drawn(seed: int) -> None:
    cls = find_backbone("resnet18")[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected, after = torchvision.models.resnet18().state_dict(), torch.rand(3)
        for _ in range(2):  # drawn, then copied
            torch.manual_seed(seed)
            network = cls.whole_network()
            assert torch.equal(torch.rand(3), after)
            for part in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"):
                for name, value in getattr(network, part).state_dict().items():
                    assert torch.equal(value, expected[f"{part}.{name}"])
            network.layer1[0].conv1.weight.data.zero_()  # changes no later copy
    assert resnet.drawn_once


def test_without_numbers_none_are_drawn() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        assert find_backbone("resnet18")[0].whole_network().conv1.weight.is_meta
    assert torch.equal(torch.get_rng_state(), before)
