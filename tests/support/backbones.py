"""Backbones as users write them, in folders of their own."""

from __future__ import annotations

from pathlib import Path

from tests.support.fresh import ROOT

EXAMPLE = ROOT / "methods" / "example" / "backbones"
"""The folder of the example that contributors copy."""

PLAIN = '''"""Two steps: a backbone of two convolutions."""
from torch import nn

from fsseg_bench.nn.backbones import Backbone, Facts, Stage


class TwoSteps(Backbone):
    facts = Facts(stages=(Stage("a", 4, 2), Stage("b", 8, 4)))

    def __init__(self, facts):
        super().__init__(facts)
        self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        if "b" in self.stages:
            self.b = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2, padding=1))

    def stage_modules(self, stage):
        return (getattr(self, stage),)
'''


def write_backbone(folder: Path, name: str, text: str = PLAIN) -> Path:
    """Writes a backbone's file."""
    (folder / f"{name}.py").write_text(text)
    return folder
