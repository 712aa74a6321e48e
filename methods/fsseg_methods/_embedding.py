"""The sizes of heads in PFENet's family, and the blocks that embed middle features into their channels.

Apart from :mod:`fsseg_methods._prior`, on whose code base networks depend that take days to train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from fsseg_bench.nn.backbones import Backbone
from fsseg_methods._prior import middle_channels, plain_block
from fsseg_methods._shared import Count, Share

_WIDTH = 256
_DROPOUT = 0.5
_CLASSIFIER_DROPOUT = 0.1


@dataclass(frozen=True)
class HeadSwitches:
    """Of the head's size and its training."""

    dropout: Share | None = None
    """The share of embedded channels that training drops; `none`: 0.5, light form 0."""
    width: Count = _WIDTH
    """Channels of the head; never more than the backbone has."""


class HeadSizes(NamedTuple):
    """What the switches make of a head on one backbone."""

    width: int
    """Channels."""
    light: bool
    """Whether it has fewer than the authors', and then starts from He's weights and without dropout."""
    dropout: float
    """Of embedded channels."""
    classifier_dropout: float

    @classmethod
    def of(cls, switches: HeadSwitches, backbone: Backbone) -> HeadSizes:
        """Those of a head on ``backbone``."""
        width = min(switches.width, backbone.out_channels)
        light = width < _WIDTH
        dropout = (0.0 if light else _DROPOUT) if switches.dropout is None else switches.dropout
        return cls(width, light, dropout, 0.0 if light else _CLASSIFIER_DROPOUT)

    def embedding(self, backbone: Backbone) -> nn.Sequential:
        """Joined middle features (M, C, h, w) of ``backbone`` to (M, width, h, w)."""
        return plain_block(middle_channels(backbone), self.width, dropout=self.dropout)
