"""PGNet: query regions of several sizes attend to the support's foreground cells as nodes of one graph.

Title: Pyramid Graph Networks with Connection Attentions for Region-Based One-Shot Semantic Segmentation
Authors: Chi Zhang et al.
Venue: ICCV
Year: 2019
Fidelity: reconstruction
Transductive: no
Test-time training: none
Extra data: none
Distinctive: attention from query regions at three grids to foreground cells only; all shots' cells are one graph.
Differences: no official code; after a description of a third party's code and CANet's, by the same authors.
Differences: grids of 1/1, 1/2 and 1/4 of the map, their sum and the unit of equal weights are unverified.
Differences: background cells are no nodes, equal weights divide by the number of nodes (third party: neither).
Differences: a mask that vanishes at feature resolution keeps the cell in which it covers most.
Differences: batch-norm stays fixed; initial weights are He's, and a head below 256 channels drops none in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.attention import Nodes, attend, foreground_cells, nodes_of, take
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import ASPPClassifier, MidLevel, start
from fsseg_bench.nn.layout import Layout, ResNetLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._shared import Count, Share, canet_recipe, changed, labels_of, light_recipe

_CANET = "CANet's authors' code, whose authors are the same"
_WIDTH = 256
_DROPOUT = 0.5


class PGNet(Method):
    """A pyramid of graph attention units, then residual blocks and ASPP."""

    @dataclass(frozen=True)
    class Switches:
        """Of the graph and the head."""

        grids: tuple[Count, ...] = (1, 2, 4)
        """Divisors of the feature map's sides; one attention unit for each."""
        global_unit: bool = True
        """Whether a further unit weighs all nodes equally; needed where `grids` is empty."""
        fusion: Literal["sum", "concat"] = "sum"
        """Of the units' maps: their sum, or side by side through a 1x1 convolution."""
        masked: bool = True
        """Whether foreground cells alone are nodes; `false` leaves background cells in as zero vectors."""
        dropout: Share | None = None
        """The share of channels that training drops; `none`: 0.5, and 0 in a head below 256 channels."""
        width: Count = _WIDTH
        """Channels of the head; never more than the backbone has."""

        def __post_init__(self) -> None:
            if not self.grids and not self.global_unit:
                raise ValueError("grids is empty and global_unit is false; at least one unit must remain")

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    layout: ClassVar[Layout] = Layout(
        families=(ResNetLayout(last="layer3", dilate_first=True, stride_in_first=True, ceil_pool=True),), levels=True
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        width = min(switches.width, backbone.out_channels)
        dropout = (_DROPOUT if width >= _WIDTH else 0.0) if switches.dropout is None else switches.dropout
        self.embed = MidLevel(backbone, width, dropout=dropout)
        self.value = nn.Linear(width, width)
        self.units = nn.ModuleList(GraphAttention(width) for _ in switches.grids)
        self.equal = Fusion(width) if switches.global_unit else None
        count = len(switches.grids) + switches.global_unit
        self.merge = nn.Conv2d(count * width, width, 1) if switches.fusion == "concat" else None
        self.blocks = nn.ModuleList(_block(width) for _ in range(3))
        self.decode = ASPPClassifier(width, dropout=dropout, project_dropout=dropout)
        for name, part in self.named_children():
            if name != "backbone":
                start(part)

    def encode(self, images: Tensor) -> Tensor:
        """Embedded mid-level features (M, width, h, w) >= 0."""
        features: Tensor = self.embed(self.backbone, images)
        return features

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, h, w)."""
        support = feature_map(episode.support)[:, 0]
        cells = foreground_cells(episode.support_masks[:, 0] == 1, (support.shape[3], support.shape[4]))
        features = self.pyramid(feature_map(episode.query), support, cells)
        for block in self.blocks:
            features = F.relu(features + block(features))
        logits: Tensor = self.decode(features)
        return logits

    def pyramid(self, query: Tensor, support: Tensor, cells: Tensor) -> Tensor:
        """The units' maps, upsampled bilinearly and fused: (B, width, h, w), as the query's features.

        All shots have features (B, K, width, h', w') and foreground ``cells`` (B, K, h', w') bool.
        """
        size = (query.shape[2], query.shape[3])
        nodes, features = self._graph(support, cells)
        foreground = nodes.of(cells.flatten(1))
        values = F.relu(self.value(features))
        embedded = _map(F.relu(self.value(_tokens(query))), size)
        maps = []
        for unit, grid in zip(self.units, self.switches.grids, strict=True):
            regions = (max(1, size[0] // grid), max(1, size[1] // grid))
            read = unit(
                _tokens(pooled(query, regions)), _tokens(pooled(embedded, regions)), features, values, nodes.real
            )
            maps.append(resize(_map(read, regions), size))
        if self.equal is not None:
            mean = _mean(values, foreground)[:, None].expand(-1, size[0] * size[1], -1)
            maps.append(_map(self.equal(mean, _tokens(embedded)), size))
        if self.merge is None:
            return torch.stack(maps).sum(dim=0)
        return F.relu(self.merge(torch.cat(maps, dim=1)))

    def _graph(self, support: Tensor, cells: Tensor) -> tuple[Nodes, Tensor]:
        """The nodes, and their features (B, S, width)."""
        nodes = nodes_of(cells if self.switches.masked else torch.ones_like(cells))
        kept = support if self.switches.masked else support * cells[:, :, None]
        return nodes, take(kept, nodes)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy at the labels' size over all pixels that are not void."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode))}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """CANet's training, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            return light_recipe()
        return changed(canet_recipe(_CANET), {"bn": "ours: the paper calls the backbone fixed"}, bn="eval")


class Fusion(nn.Module):
    """ReLU(W [v; g(q)]): what a query node read, joined with what it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)

    def forward(self, read: Tensor, embedded: Tensor) -> Tensor:
        """Both (B, Q, C); the result too."""
        joined: Tensor = self.linear(torch.cat((read, embedded), dim=2))
        return joined.relu()


class GraphAttention(nn.Module):
    """v_i = sum_j softmax_j(<phi(q_i), theta(s_j)>) g(s_j) over the real nodes, then the fusion with g(q_i)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.theta = nn.Linear(width, width)
        self.phi = nn.Linear(width, width)
        self.fuse = Fusion(width)

    def forward(self, query: Tensor, embedded: Tensor, support: Tensor, values: Tensor, real: Tensor) -> Tensor:
        """Query nodes q and g(q) (B, Q, C), support nodes s and g(s) (B, S, C): (B, Q, C) >= 0.

        ``real`` (B, S) bool says which support nodes exist.
        """
        scores = self.phi(query) @ self.theta(support).mT
        fused: Tensor = self.fuse(attend(scores, values, real), embedded)
        return fused


def pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) averaged over regions, (B, C, *size), as ``adaptive_avg_pool2d`` does.

    Two matrix products, whose gradient is the same in every run on every device.
    """
    if (maps.shape[2], maps.shape[3]) == size:
        return maps
    return _regions(maps.shape[2], size[0], maps).mT @ maps @ _regions(maps.shape[3], size[1], maps)


def _regions(cells: int, regions: int, like: Tensor) -> Tensor:
    """(cells, regions): each column the share of a region's cells."""
    return F.adaptive_avg_pool1d(torch.eye(cells, dtype=like.dtype, device=like.device)[None], regions)[0]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean (B, C) of the values (B, S, C) of the chosen nodes (B, S) bool; 0 without any."""
    weights = chosen.to(values.dtype)
    return (weights[:, None] @ values)[:, 0] / weights.sum(dim=1, keepdim=True).clamp_min(1)


def _tokens(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return maps.flatten(2).mT


def _map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) to (B, C, h, w)."""
    return tokens.mT.reshape(*tokens.shape[::2], *size)


def _block(width: int) -> nn.Sequential:
    """3x3 convolution, ReLU, 3x3 convolution."""
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
