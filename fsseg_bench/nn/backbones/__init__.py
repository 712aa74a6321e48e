"""Feature extractors: VGG-16 and ResNets, at output stride 8 unless laid out otherwise."""

from __future__ import annotations

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.backbones.folded_norms import folded_norms
from fsseg_bench.nn.backbones.folding import folded
from fsseg_bench.nn.backbones.resnet import ResNet
from fsseg_bench.nn.backbones.vgg import VGG
from fsseg_bench.nn.catalogue import laid_out
from fsseg_bench.nn.layout import AS_LISTED, Layout

__all__ = ["Backbone", "build_backbone", "folded", "folded_norms"]


def build_backbone(name: str, layout: Layout = AS_LISTED) -> Backbone:
    """The backbone ``name`` with torchvision's random initialisation, under torch's global seed.

    Args:
        name: as in the catalogue.
        layout: strides, dilations and the end of the network, as a method wants them.

    Raises:
        UserError: no backbone has this name; near matches are named.
    """
    facts = laid_out(name, layout)
    vgg = facts.network.startswith("vgg16")
    backbone: Backbone = VGG(facts, layout.vgg) if vgg else ResNet(facts, layout.resnet)
    backbone.remember_parts()
    return backbone
