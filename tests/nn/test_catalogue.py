"""Names and facts of the built-in backbones, and backbones from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import torchvision

from fsseg_bench import plugins
from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones import build_backbone, laid_out
from fsseg_bench.nn.catalogue import BACKBONES, backbone_module, backbone_names, find_backbone
from tests.support.backbones import EXAMPLE, PLAIN, write_backbone
from tests.support.networks import meta_backbone

CLASSIFIERS = {
    "vgg16": (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000,
    "vgg16-bn": (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000,
    "resnet18": (512 + 1) * 1000,
    "resnet50": (2048 + 1) * 1000,
    "resnet101": (2048 + 1) * 1000,
}
"""The numbers of the classifiers that torchvision counts and a trunk has not."""
DEEP = ("resnet50-deep", "resnet101-deep")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_built_in_backbones_have_torchvisions_weights_and_parameters(name: str) -> None:
    assert name in backbone_names()
    facts, backbone = laid_out(name), meta_backbone(name)
    assert facts.weights is not None and facts.weights.endswith(".IMAGENET1K_V1")
    counted_by_torchvision = torchvision.models.get_weight(facts.weights).meta["num_params"]
    assert sum(map(backbone.parameters_of, backbone.stages)) == counted_by_torchvision - CLASSIFIERS[name]


def test_names_need_no_torch() -> None:
    program = "import sys; from fsseg_bench.nn.catalogue import backbone_names; backbone_names()"
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "stages", "channels", "stride"),
    [
        ("resnet50", ("stem", "layer1", "layer2", "layer3", "layer4"), 2048, 8),
        ("resnet50-layer3", ("stem", "layer1", "layer2", "layer3"), 1024, 8),
        ("resnet18-layer2", ("stem", "layer1", "layer2"), 128, 8),
        ("resnet101-stem", ("stem",), 64, 4),
        ("resnet50-deep-layer1", ("stem", "layer1"), 256, 4),
        ("vgg16-bn-conv1", ("conv1",), 64, 1),
        ("vgg16-pool2", ("conv1", "pool1", "conv2", "pool2"), 128, 4),
    ],
)
def test_any_backbone_can_be_cut_by_name(name: str, stages: tuple[str, ...], channels: int, stride: int) -> None:
    facts = laid_out(name)
    assert tuple(stage.name for stage in facts.stages) == stages
    assert (facts.channels, facts.stride) == (channels, stride)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-50", r"unknown backbone 'resnet-50'.*'resnet50'"),
        (
            "resnet50-layer9",
            r"resnet50 has no stage 'layer9' to cut after; it can be cut after stem, layer1, layer2, layer3$",
        ),
        ("resnet50-deep-layer9", r"resnet50-deep has no stage 'layer9' to cut after"),
        ("resnet50-layer4", "layer4 is the last stage of resnet50, so this is the whole network; write resnet50"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_backbone(name)


# --- from elsewhere ---


def test_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_backbone(tmp_path, "two_steps")
    assert backbone_names(tmp_path) == sorted([*CLASSIFIERS, *DEEP, "two-steps"])
    backbone = build_backbone("two-steps", path=tmp_path)
    assert (backbone.name, backbone.stages, backbone.strides) == ("two-steps", ("a", "b"), {"a": 2, "b": 4})
    assert build_backbone("two-steps-a", path=tmp_path)(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    assert backbone_module("two-steps-a", tmp_path) == type(backbone).__module__
    monkeypatch.setenv("FSSEG_BACKBONES_PATH", str(tmp_path))
    assert "two-steps" in backbone_names()


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_backbone(tmp_path, "theirs_nn")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("theirs", "theirs_nn:TwoSteps", BACKBONES.group)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "fsseg_bench.backbones" else [])
    assert build_backbone("theirs-a").out_channels == 4


@pytest.mark.parametrize(
    ("file", "content", "name", "message"),
    [
        ("resnet50", PLAIN, "resnet18", r"two backbones are called 'resnet50': .*networks.*resnet50\.py and"),
        (
            "resnet50_layer2",
            PLAIN,
            "resnet50-layer2",
            r"two backbones are called .*_layer2\.py and resnet50 cut",
        ),
        (
            "mine",
            "x = 1",
            "mine",
            r"mine\.py: a backbone file defines exactly one public Backbone sub.*none",
        ),
        ("mine", "import not_there", "mine", r"mine\.py\) cannot be imported: No module named"),
        ("mine", PLAIN.replace("facts = F", "fact = F"), "mine", r"TwoSteps needs `facts = Facts"),
        ("mine", PLAIN.replace('"b"', '"a"'), "mine", r"cannot be imported: ValueError: stages a, a: each needs"),
        (
            "mine",
            PLAIN.replace('"b"', '"all"'),
            "mine",
            r"stages a, all: each needs a name of its own, other",
        ),
        ("mine", PLAIN.replace("4, 2)", "4, 0)"), "mine", r"channels and stride are numbers from 1"),
    ],
)
def test_files_that_are_no_backbones(tmp_path: Path, file: str, content: str, name: str, message: str) -> None:
    write_backbone(tmp_path, file, content)
    with pytest.raises(UserError, match=message):
        find_backbone(name, tmp_path)


def test_the_example_is_one_short_file() -> None:
    (file,) = EXAMPLE.glob("*.py")
    assert len(file.read_text().splitlines()) < 40
