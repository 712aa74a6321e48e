from __future__ import annotations

import subprocess
import sys

import pytest
import torchvision

from fsseg_bench.nn.catalogue import BACKBONES

# the numbers of the classifiers that torchvision counts and a trunk has not
HEADS = {
    "vgg16": (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000,
    "resnet18": (512 + 1) * 1000,
    "resnet50": (2048 + 1) * 1000,
    "resnet101": (2048 + 1) * 1000,
}


def test_names() -> None:
    assert set(BACKBONES) == {
        "vgg16",
        "resnet18",
        "resnet18-layer2",
        "resnet18-layer3",
        "resnet50",
        "resnet50-layer2",
        "resnet50-layer3",
        "resnet101",
        "resnet101-layer2",
        "resnet101-layer3",
    }
    assert all(facts.name == name for name, facts in BACKBONES.items())


def test_it_needs_no_torch() -> None:
    program = "import sys, fsseg_bench.nn.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_are_torchvisions(name: str) -> None:
    facts = BACKBONES[name]
    weights = torchvision.models.get_weight(facts.weights_enum)
    assert facts.weights_enum.endswith(".IMAGENET1K_V1")
    assert weights.url.rpartition("/")[2] == facts.weights_file
    assert len(facts.weights_hash) == 8
    assert f"-{facts.weights_hash}.pth" in weights.url


@pytest.mark.parametrize("name", HEADS)
def test_parameters_of_whole_trunks(name: str) -> None:
    facts = BACKBONES[name]
    counted_by_torchvision = torchvision.models.get_weight(facts.weights_enum).meta["num_params"]
    assert facts.parameters == counted_by_torchvision - HEADS[name]


def test_cuts() -> None:
    whole, cut = BACKBONES["resnet50"], BACKBONES["resnet50-layer3"]
    assert (whole.channels, whole.stride) == (2048, 8)
    assert (cut.channels, cut.stride) == (1024, 8)
    assert cut.stages == whole.stages[:-1]
    assert [stage.name for stage in BACKBONES["resnet18-layer2"].stages] == ["stem", "layer1", "layer2"]
    with pytest.raises(ValueError, match="layer9"):
        whole.cut("layer9")
