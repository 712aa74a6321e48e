"""Feature extractors: VGG-16 and ResNets at output stride 8."""

from __future__ import annotations

from fsseg_bench.errors import unknown
from fsseg_bench.nn.backbones.base import Backbone

__all__ = ["Backbone", "build_backbone"]


def build_backbone(name: str) -> Backbone:
    """The backbone ``name``, randomly initialised.

    Raises:
        UserError: no backbone has this name; near matches are named.
    """
    raise unknown("backbone", name, ())
