"""DAN-style democratic attention: our reconstruction from second-hand descriptions, not the authors' network.

Title: Few-Shot Semantic Segmentation with Democratic Attention Networks
Authors: Haochen Wang et al.
Venue: ECCV
Year: 2020
Fidelity: reconstruction
Distinctive: attention over support foreground in which a node's rank damps it, so that no few nodes dominate.
Differences: no code is public and the paper's text was not read; only the idea and the stages' number are known.
Differences: widths, score scaling, decoder, losses, optimiser and schedule are ours; the paper's are unknown.
Differences: ranks go over the foreground nodes of all supports (that is also the K-shot rule), not over all pixels.
Differences: negative scores are set to 0 before ranks weigh them (scores=relu); signed ones would grow apart.
Differences: the encoder is frozen; for fine-tuning at a tenth of the rate set recipe.freeze=none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method
from fsseg_bench.nn.attention import foreground_cells
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._dan import FusionDecoder, SignRule, rank_attention
from fsseg_methods._recipes import changed, light_recipe
from fsseg_methods._shared import Count, labels_of

_ATTENTION_STRIDE = 8
"""Stages this coarse or coarser attend; the one before them is the decoder's skip."""
_SKIP = 64
"""Channels of the skip and of the decoder's last step."""


class DAN(Method):
    """Rank-weighted attention at several stages, decoded from coarse to fine; 1-way."""

    @dataclass(frozen=True)
    class Switches:
        """Of the attention and the decoder."""

        rerank: bool = True
        """Whether ranks weigh the attention; without (and with `scores=signed`) it is PGNet's plain softmax."""
        scores: SignRule = "relu"
        """What is weighed: positive scores (`relu`), scores less their row's minimum (`shift`), or all (`signed`)."""
        width: Count = 256
        """Most channels of the decoder's coarse steps; never more than the backbone has."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "resnet101"
    layout: ClassVar[Layout] = Layout(
        families=(
            ResNetLayout(output_stride=32),
            VGGLayout(pool_strides=(2, 2, 2, 2), dilations=(1, 1, 1, 1, 1)),
        )
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.stages = attention_stages(backbone)
        channels = [backbone.channels[stage] for stage in self.stages]
        self.keys = [c // 8 for c in channels]
        self.embed = nn.ModuleList(nn.Conv2d(c, c // 8 + c // 2, 3, padding=1) for c in channels)
        attended = [2 * (c // 2) for c in reversed(channels)]
        widths = [min(switches.width, backbone.out_channels)] * len(channels)
        self.skip_stages = skip_stage(backbone)
        self.skip = nn.ModuleList(nn.Conv2d(backbone.channels[s], _SKIP, 1) for s in self.skip_stages)
        extra = [_SKIP] * len(self.skip)
        self.decoder = FusionDecoder(attended + extra, widths + extra)

    def encode(self, images: Tensor) -> Features:
        """Keys and values of each attending stage, fine to coarse: (M, C/8 + C/2, h, w); then the skip, if any.

        They depend on the image alone, so that they are computed once an image, whatever its part in an episode.
        """
        levels = [level.relu() for level in self.backbone.levels(images, (*self.stages, *self.skip_stages))]
        return tuple(layer(level) for layer, level in zip((*self.embed, *self.skip), levels, strict=True))

    def attended(self, episode: Episode) -> list[Tensor]:
        """For each attending stage, fine to coarse, what was read beside the query's own values: (B, C, h, w)."""
        masks = episode.support_masks[:, 0] == 1
        maps = []
        for keys, support, query in zip(self.keys, episode.support, episode.query, strict=False):
            cells = foreground_cells(masks, (support.shape[-2], support.shape[-1]))
            read = rank_attention(
                query, support[:, 0], cells, keys=keys, rerank=self.switches.rerank, rule=self.switches.scores
            )
            maps.append(torch.cat((read, query[:, keys:]), dim=1))
        return maps

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, h, w) at the skip's resolution."""
        logits: Tensor = self.decoder([*reversed(self.attended(episode)), *episode.query[len(self.keys) :]])
        return logits

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode))}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """One training for all data sets and any number of shots: the paper's is unknown."""
        if protocol.synthetic:
            why = {"lr": "ours: a decoder from scratch fits its training episodes sooner"}
            return changed(light_recipe(), why, lr=3e-2)
        return Recipe(
            iterations=50_000,
            batch=8,
            lr=2.5e-4,
            head_lr_factor=10.0,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="poly",
            freeze="all",
            bn="eval",
            augment="enlarged-crop",
            sources={
                "iterations": "ours: about as many as 200 epochs of CANet's lists in its batches of 4",
                "batch": "ours",
                "lr": "ours: of the encoder, where it is not frozen",
                "head_lr_factor": "ours: the new layers learn at CANet's rate, 2.5e-3",
                "momentum": "ours: as CANet",
                "weight_decay": "ours: as CANet",
                "schedule": "ours",
                "freeze": "ours: as CANet and PGNet, to compare attention with attention",
                "bn": "ours",
                "augment": "ours: flips and enlarged random crops of supports and query",
            },
        )


def attention_stages(backbone: Backbone) -> tuple[str, ...]:
    """The stages with convolutions at stride 8 or more, fine to coarse; at least the last stage."""
    coarse = [s for s in _convolutional(backbone) if backbone.strides[s] >= _ATTENTION_STRIDE]
    return tuple(coarse or backbone.stages[-1:])


def skip_stage(backbone: Backbone) -> tuple[str, ...]:
    """The last stage with convolutions before those that attend; none where there is none."""
    return tuple(s for s in _convolutional(backbone) if backbone.strides[s] < _ATTENTION_STRIDE)[-1:]


def _convolutional(backbone: Backbone) -> list[str]:
    return [stage for stage in backbone.stages if not stage.startswith("pool")]
