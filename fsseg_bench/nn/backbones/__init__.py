"""Feature extractors: VGG-16 and ResNets at output stride 8."""

from __future__ import annotations

from fsseg_bench.errors import unknown
from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.backbones.folding import folded
from fsseg_bench.nn.backbones.resnet import ResNet
from fsseg_bench.nn.backbones.vgg import VGG
from fsseg_bench.nn.catalogue import BACKBONES

__all__ = ["Backbone", "build_backbone", "folded"]


def build_backbone(name: str) -> Backbone:
    """The backbone ``name`` with torchvision's random initialisation, under torch's global seed.

    Raises:
        UserError: no backbone has this name; near matches are named.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    facts = BACKBONES[name]
    return VGG(facts) if facts.network == "vgg16" else ResNet(facts)
