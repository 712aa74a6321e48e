"""The contract tests of a backbone find what is wrong, and say what to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.engine.check_backbone import check_backbone
from fsseg_bench.nn.backbones import build_backbone
from tests.support.backbones import PLAIN, write_backbone


def failures(folder: Path, content: str) -> dict[str, str]:
    """The failed tests of a backbone with their details."""
    write_backbone(folder, "mine", content)
    checks = check_backbone(lambda stage: build_backbone(f"mine-{stage}" if stage else "mine", path=folder))
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_sound_backbone_passes(tmp_path: Path) -> None:
    assert not failures(tmp_path, PLAIN)


WEIGHTS = ', weights="ResNet18_Weights.IMAGENET1K_V1"'
LAST = 'Stage("b", 8, 4)))'


@pytest.mark.parametrize(
    ("old", "new", "test", "message"),
    [
        ("super().__init__(facts)", "pass", "it can be built", "AttributeError"),
        ('Stage("a", 4, 2)', 'Stage("a", 5, 2)', "channels and", "a of 129x97 pixels: 4 channels, declared are 5"),
        ('Stage("b", 8, 4)', 'Stage("b", 8, 8)', "channels and", "33 cells for 129 pixels, stride 3.9, declared 8"),
        ('Stage("b", 8, 4)', 'Stage("b", 8, 2)', "channels and", "stride 3.9, declared 2"),
        ("        if ", "        self.more = nn.Linear(1, 1)\n        if ", "each par", "more.bias: in no"),
        ("(getattr(self, stage),)", "(self.a,)", "each parameter", "belongs to a and to b; see stage_modules"),
        ("nn.ReLU()", "nn.ReLU(inplace=True)", "later stages", "the output of a is changed by the stage after it"),
        ("nn.ReLU()", "nn.Sequential(nn.InstanceNorm2d(4), nn.Dropout(), nn.ReLU())", "", ""),
        ("nn.ReLU()", "Dropped()", "evaluation is deterministic", "two passes differ in b; in evaluation nothing may"),
        ("nn.ReLU()", "nn.BatchNorm2d(4, track_running_stats=False)", "features dep", "b: an image has other features"),
        ("nn.ReLU()", "Cut()", "gradient reaches", "no gradient reaches a.weight, a.bias"),
        ('        if "b" in self.stages:\n    ', "        if True:\n    ", "cut after", "b.1.bias: in no stage"),
        ("nn.ReLU()", "Backwards(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))", "made ready", "the copy for evaluation has"),
        (LAST, LAST[:-1] + ', weights="X_Weights.V1")', "published weights", "torchvision has no X_Weights"),
        (LAST, f"{LAST[:-1]}{WEIGHTS})", "published weights", "has no tensor a.weight; keep torchvision's names"),
        (
            LAST,
            f"{LAST[:-1]}{WEIGHTS}, mean=(0.5, 0.5, 0.5))",
            "published weights",
            "facts.mean is (0.5, 0.5, 0.5), and that of",
        ),
        (
            "    def stage",
            "    def freeze(self, to):\n        pass\n\n    def stage",
            "freez",
            "a.weight of a is trained",
        ),
    ],
)
def test_faults_are_found(tmp_path: Path, old: str, new: str, test: str, message: str) -> None:
    helpers = """
import torch


class Dropped(nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, training=True)


class Cut(nn.Module):
    def forward(self, x):
        return x.detach()


class Backwards(nn.Sequential):
    def forward(self, x):
        return self[0](self[1](x))

"""
    assert old in PLAIN
    found = failures(tmp_path, PLAIN.replace("\n\nclass TwoSteps", helpers + "\nclass TwoSteps").replace(old, new))
    if not test:
        assert not found
        return
    assert any(name.startswith(test) and message in detail for name, detail in found.items()), found
