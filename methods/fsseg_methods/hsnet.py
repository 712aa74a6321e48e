"""HSNet: correlations of all block outputs of query and support, squeezed by 4D convolutions.

Title: Hypercorrelation Squeeze for Few-Shot Segmentation
Authors: Juhong Min et al.
Venue: ICCV
Year: 2021
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: it sees no feature, only which cells of query and support are alike at every block of three levels.
Differences: void pixels of queries are left out of the loss; background in the authors' code (void_in_bg=true).
Differences: images need not be square, nor all of one size; the authors' code doubles the width for both sides.
Differences: the last checkpoint; the authors chose theirs by the score on the very episodes that they report.
Differences: a fixed number of steps; the authors stop by hand when that score no longer rises, at 2,000 epochs at most.
Differences: the protocol's training lists and episodes; the authors' episodes may show one support twice.
Differences: backbones with fewer than three levels of stride 8 or more have as many correlations as levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fsseg_bench.method import VOID, Episode, Method
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._hsnet import SQUEEZES, PairHead, units
from fsseg_methods._shared import CODE, changed, from_code, labels_of, light_recipe

_TIE = 1e-3  # the least margin of a pixel with just enough votes: ties are foreground, the engine's are background


class HSNet(Method):
    """Logits of each support by itself; several supports vote.

    In inference the correlations are made 16 MiB at a time; training keeps them for the backward pass, about 100 MB an
    episode at 400 x 400 pixels on a ResNet-50.
    """

    @dataclass(frozen=True)
    class Switches:
        """Of the votes and of void."""

        vote_of: Literal["best", "shots"] = "best"
        """What votes are a share of: the image's highest vote, as in the authors' code, or the number of supports."""
        vote_share: Annotated[float, Range(above=0, most=1)] = 0.5
        """Share of the votes from which a pixel is foreground."""
        void_in_bg: bool = False
        """Whether void pixels of the query count as background in training, as in the authors' code."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    layout: ClassVar[Layout] = Layout(
        families=(
            ResNetLayout(output_stride=32),
            VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), floor_pool=True),
        ),
        levels=True,
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        levels = levels_of(backbone)
        self.levels = tuple(levels.values())
        self.head = PairHead({stride: backbone.blocks_of(stage) for stride, stage in levels.items()})

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """For each level, fine to coarse, the signed outputs of its L blocks: (M, L, C, h, w)."""
        return tuple(torch.stack(blocks, dim=1) for blocks in self.backbone.block_outputs(images, self.levels))

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W) at image size: of the only support, or the margin of the votes of several."""
        if episode.batch > 1 and episode.support_masks.device.type == "cpu":
            # a vote is all or nothing: rounding that depends on the batch must not turn one
            return torch.cat([self.predict(episode.item(i)) for i in range(episode.batch)])
        logits = [resize(shot, episode.size, align_corners=True) for shot in self.shots(episode)]
        return logits[0] if len(logits) == 1 else self.voted(torch.stack([shot.argmax(dim=1) for shot in logits], 1))

    def voted(self, masks: Tensor) -> Tensor:
        """Masks (B, K, H, W) of 0 and 1 to logits (B, 2, H, W), of which the foreground's is the margin of the votes.

        The share of the votes is of the image's highest vote or of K; a pixel is foreground from ``vote_share`` on.
        """
        votes = masks.sum(dim=1).float()
        best = votes.amax(dim=(1, 2), keepdim=True) if self.switches.vote_of == "best" else masks.shape[1]
        share = votes / (best.clamp_min(1) if isinstance(best, Tensor) else best)
        margin = share - self.switches.vote_share
        foreground = torch.where(share >= self.switches.vote_share, margin.clamp_min(_TIE), margin)
        return torch.stack([torch.zeros_like(foreground), foreground], dim=1)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy at the labels' size, the mean over the supports, each of which predicts alone."""
        labels = labels_of(episode, void=0 if self.switches.void_in_bg else VOID)
        losses = [segmentation_loss(logits, labels, align_corners=True) for logits in self.shots(episode)]
        return {"query": torch.stack(losses).mean()}

    def shots(self, episode: Episode) -> list[Tensor]:
        """Logits (B, 2, 2 h, 2 w) of each support by itself, h x w cells of the finest level; one after the other."""
        query = [units(level) for level in _levels(episode.query)]
        masks = episode.support_masks[:, 0] == 1
        return [
            self.head(query, [units(level[:, 0, k], masks[:, k]) for level in _levels(episode.support)])
            for k in range(episode.shots)
        ]

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, without augmentation."""
        if protocol.synthetic:
            why = dict.fromkeys(("optimizer", "lr"), "ours: Adam as in the authors' code, at a rate for short training")
            return changed(light_recipe(), why, optimizer="adam", lr=1e-3)
        coco = protocol.trains_like_coco
        return from_code(
            {
                "iterations": "ours: about 100 epochs of PASCAL, 55 of COCO; the authors stop by hand",
                "train_shots": f"{CODE}: trained with one support only",
            },
            iterations=100_000 if coco else 50_000,
            batch=40 if coco else 20,
            lr=1e-3,
            optimizer="adam",
            weight_decay=0.0,
            schedule="constant",
            freeze="all",
            bn="eval",
            augment="none",
            train_shots=1,
        )


def levels_of(backbone: Backbone) -> dict[int, str]:
    """The stages that are compared, by the stride of their squeeze, from fine to coarse.

    Of each of the strides 8, 16 and 32 the last stage (a stride between two counts as the finer). Finer stages are left
    out, unless the backbone has no others.
    """
    levels: dict[int, str] = {}
    for stage in backbone.stages:
        if fitting := [stride for stride in SQUEEZES if stride <= backbone.strides[stage]]:
            levels[max(fitting)] = stage
    return levels or {min(SQUEEZES): backbone.stages[-1]}


def _levels(features: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (features,) if isinstance(features, Tensor) else features
