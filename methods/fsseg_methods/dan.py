"""DAN-style democratic attention: our reconstruction from second-hand descriptions, not the authors' network.

Title: Few-Shot Semantic Segmentation with Democratic Attention Networks
Authors: Haochen Wang et al.
Venue: ECCV
Year: 2020
Fidelity: reconstruction
Transductive: no
Test-time training: none
Extra data: none
Distinctive: attention over support foreground in which a node's rank damps it, so that no few nodes dominate.
Differences: no code is public and the paper's text was not read; only the idea and the stages' number are known.
Differences: widths, score scaling, decoder, losses, optimiser and schedule are ours; the paper's are unknown.
Differences: ranks go over the foreground nodes of all supports (that is also the K-shot rule), not over all pixels.
Differences: negative scores are set to 0 before ranks weigh them (scores=relu); signed ones would grow apart.
Differences: the encoder is frozen; for fine-tuning at a tenth of the rate set recipe.freeze=none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method
from fsseg_bench.nn.attention import attend, foreground_cells, nodes_of, take
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import conv_block, start
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._shared import Count, changed, labels_of, light_recipe

_ATTENTION_STRIDE = 8
"""Stages this coarse or coarser attend; the one before them is the decoder's skip."""
_SKIP = 64
"""Channels of the skip and of the decoder's last step."""
SignRule = Literal["relu", "shift", "signed"]
"""What is re-weighted: ``relu`` max(A, 0); ``shift`` A less its row's minimum; ``signed`` A itself, where a larger
factor raises positive entries and lowers negative ones."""


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
        ),
        levels=True,
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


def rank_factors(importance: Tensor, real: Tensor) -> Tensor:
    """r_j / (N + 1), with N the number of real nodes and r_j a node's place in descending order of importance.

    Args:
        importance: (B, S) finite. Of equal nodes the earlier comes first.
        real: (B, S) bool; nodes that are not real come after all others.

    Returns:
        (B, S) without gradient, in (0, 1) where a node is real; the most important node has the smallest factor.
    """
    order = importance.detach().masked_fill(~real, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    return ranks.to(importance.dtype) / (real.sum(dim=1, keepdim=True) + 1)


def without_sign(scores: Tensor, real: Tensor, rule: SignRule) -> Tensor:
    """Scores (B, Q, S) by ``rule``; ``real`` (B, S) bool says which nodes a row's minimum is of."""
    if rule == "relu":
        return scores.relu()
    if rule == "signed":
        return scores
    lowest = scores.masked_fill(~real[:, None], torch.inf).amin(dim=2, keepdim=True)
    return scores - torch.where(lowest.isfinite(), lowest, 0)


@itemwise
def rank_attention(
    query: Tensor, support: Tensor, cells: Tensor, *, keys: int, rerank: bool = True, rule: SignRule = "relu"
) -> Tensor:
    """What each query cell reads from the foreground nodes of all supports.

    The first ``keys`` channels of both maps are keys k, the others values v. With A_ij = <k_i, k_j> / sqrt(keys):
    f_i = sum_j softmax_j(A_ij r_j / (N + 1)) v_j, where r_j ranks the mean of A over all query cells i. A rank is not
    continuous: one item at a time on a CPU, so that an episode's ranks do not depend on the rounding in its batch.

    Args:
        query: (B, keys + C, h, w).
        support: (B, K, keys + C, h', w').
        cells: (B, K, h', w') bool, the support cells that are nodes.
        keys: number of key channels.
        rerank: whether ranks weigh the scores; without, a plain softmax over ``rule``'s scores.
        rule: see :data:`SignRule`.

    Returns:
        (B, C, h, w); 0 for an episode without nodes.
    """
    nodes = nodes_of(cells)
    chosen = take(support, nodes)
    scores = query[:, :keys].flatten(2).mT @ chosen[..., :keys].mT / keys**0.5
    scores = without_sign(scores, nodes.real, rule)
    if rerank:
        scores = scores * rank_factors(scores.mean(dim=1), nodes.real)[:, None]
    read = attend(scores, chosen[..., keys:], nodes.real)
    return read.mT.reshape(len(query), -1, query.shape[2], query.shape[3])


class RefinementFusion(nn.Module):
    """X + R(X) with X = ReLU(conv [up(D); ReLU(conv F)]); all convolutions 3x3.

    D is the coarser map, enlarged bilinearly, F the finer one; R is ReLU, convolution, ReLU, convolution.
    """

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        """Builds the layers for maps of ``coarse`` and ``fine`` channels; ``width`` channels come out."""
        super().__init__()
        self.lateral = conv_block(fine, width)
        self.fuse = conv_block(coarse + width, width)
        self.refine = nn.Sequential(conv_block(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """D (M, coarse, h', w') and F (M, fine, h, w) fused: (M, width, h, w), signed."""
        enlarged = resize(coarse, (fine.shape[2], fine.shape[3]))
        fused = self.fuse(torch.cat((enlarged, self.lateral(fine)), dim=1))
        refined: Tensor = fused + self.refine(fused)
        return refined


class FusionDecoder(nn.Module):
    """Maps of several resolutions to logits at the finest one.

    The coarsest map goes through a 3x3 convolution and ReLU; every finer one joins by :class:`RefinementFusion`; a
    1x1 convolution gives the logits. Weights start so that signals keep their size through the ReLUs (He et al.).
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        """Builds one step a map, from maps of ``channels``, coarsest first, to ``widths`` channels."""
        super().__init__()
        self.start = conv_block(channels[0], widths[0])
        self.steps = nn.ModuleList(
            RefinementFusion(widths[i - 1], channels[i], widths[i]) for i in range(1, len(channels))
        )
        self.classify = nn.Conv2d(widths[-1], 2, 1)
        start(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (M, channels[i], h_i, w_i), coarsest first, to logits (M, 2, h, w) of the last one's size."""
        decoded: Tensor = self.start(maps[0])
        for step, fine in zip(self.steps, maps[1:], strict=True):
            decoded = step(decoded, fine)
        logits: Tensor = self.classify(decoded)
        return logits
