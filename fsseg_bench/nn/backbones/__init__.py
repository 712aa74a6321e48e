"""Feature extractors: images to feature maps, in named stages."""

from __future__ import annotations

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.backbones.build import build_backbone, for_shapes, laid_out
from fsseg_bench.nn.backbones.folding import folded, folded_norms
from fsseg_bench.nn.backbones.winograd import quicken
from fsseg_bench.nn.layout import Facts, Stage

__all__ = [
    "Backbone",
    "Facts",
    "Stage",
    "build_backbone",
    "folded",
    "folded_norms",
    "for_shapes",
    "laid_out",
    "quicken",
]
