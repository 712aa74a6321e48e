"""What the two prototype mixture models share: features, mixtures of the supports, the activated query, the decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import ASPPClassifier, MidLevel, Refinement, TiledConvolution, conv_block, mid_level_features
from fsseg_bench.nn.host import sent
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.prototypes import background_mask
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._pmms.mixture import fit_mixtures, mixture_starts, probability_map
from fsseg_methods._shared import CODE, Count, Share, changed, from_code, light_recipe

MapInto = Literal["activation", "history"]
"""Where the probability map enters: beside the activated query, or as the decoder's earlier prediction."""


class Mixtures(NamedTuple):
    """What one stage takes from the supports."""

    foreground: Tensor
    """(B, K, C) prototypes of the class."""
    likely: Tensor
    """(B, 2, h, w): how likely each query cell is background and class; without gradient."""


class Activation(nn.Module):
    """The query joined with each class prototype, each through one shared convolution, summed, and merged."""

    def __init__(self, width: int, *, batch_norm: bool, dropout: float, reads_map: bool) -> None:
        super().__init__()
        self.join = TiledConvolution(width, width, width, dilation=2)
        self.norm: nn.Module = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
        self.drop: nn.Module = nn.Dropout2d(dropout) if dropout > 0 else nn.Identity()
        self.merge = conv_block(width + 2 if reads_map else width, width, batch_norm=batch_norm, dropout=dropout)
        self.reads_map = reads_map

    def forward(self, query_part: Tensor, mixtures: Mixtures) -> Tensor:
        """The activated query (B, width, h, w) >= 0; ``query_part`` is its part in the joining convolution."""
        size = (query_part.shape[2], query_part.shape[3])
        total = torch.zeros_like(query_part)
        for prototype in mixtures.foreground.unbind(dim=1):
            joined = query_part + self.join.of_vector(prototype, size)
            total = total + self.drop(self.norm(joined).relu())
        if self.reads_map:
            total = torch.cat((total, mixtures.likely.to(total.dtype)), dim=1)
        activated: Tensor = self.merge(total)
        return activated


class _MixtureMethod(Method):
    """One or several stages, each with its own mixtures of K components and the shared decoder."""

    max_ways: ClassVar[int | None] = 1
    stochastic: ClassVar[bool] = True
    layout: ClassVar[Layout] = Layout(
        families=(
            ResNetLayout(last="layer3", dilate_first=True, stride_in_first=True, ceil_pool=True),
            VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1)),
        ),
        levels=True,
    )

    @dataclass(frozen=True)
    class Switches:
        """Of the mixtures, the head and its training."""

        support_grad: bool = False
        """Whether gradient reaches the supports, through the last maximisation step of each mixture."""
        kappa: float = 20.0
        """Factor of the inner products in expectation-maximisation."""
        em_iterations: Count = 10
        """Iterations of expectation-maximisation."""
        void_in_bg: bool = False
        """Whether void pixels of supports count as background, as in the authors' code."""
        dropout: Share = 0.5
        """Share of the channels that training drops: in the pyramid's branches, and in rpmms before and after the
        refinement too."""
        separate_passes: bool = True
        """Whether training normalises supports and queries apart, as in the authors' code."""
        width: Count = 256
        """Channels of the head, at most those of the backbone."""

    switches: Switches
    map_into: ClassVar[MapInto]
    """``activation``: its layers, and the last one, have dropout. ``history``: they have batch-norm."""

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        """Builds the head; a VGG is given one more convolution, at the trunk's rate."""
        super().__init__(backbone, switches)
        self.width = min(switches.width, backbone.out_channels)
        batch_norm, dropout = self.map_into == "history", switches.dropout
        beside = 0.0 if batch_norm else dropout
        self.mid = MidLevel(self.backbone, self.width, batch_norm=True)
        self.activation = Activation(self.width, batch_norm=batch_norm, dropout=beside, reads_map=not batch_norm)
        self.refine = Refinement(self.width)
        self.classify = ASPPClassifier(
            self.width, dropout=dropout, project_batch_norm=batch_norm, project_dropout=beside
        )
        if _is_vgg(self.backbone):
            # a part of the trunk: it has the trunk's learning rate and goes where the trunk goes
            extra = nn.Conv2d(self.backbone.out_channels, self.backbone.out_channels, 3, padding=1)
            nn.init.xavier_normal_(extra.weight)
            self.backbone.add_module("extra", extra)

    @property
    @abstractmethod
    def components(self) -> tuple[int, ...]:
        """K of each stage."""

    def encode(self, images: Tensor) -> Tensor:
        """Features (M, width, h, w) >= 0 of normalised images (M, 3, H, W)."""
        features = mid_level_features(self.backbone, images)
        if _is_vgg(self.backbone):
            features = self.backbone.get_submodule("extra")(features)
        embedded: Tensor = self.mid.embed(features)
        return embedded

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """Supports first, then queries: each pass has its own batch statistics, and only the queries' learns."""
        if not self.switches.separate_passes:
            return super().encode_training(supports, masks, queries)
        with torch.set_grad_enabled(self.switches.support_grad and torch.is_grad_enabled()):
            support = self.encode(supports)
        return support, self.encode(queries)

    def starts(self, episode: Episode) -> tuple[Tensor, ...]:
        """For each stage the prototypes (B, K, width) that class and background start from."""
        return mixture_starts(episode.seeds, self.width, self.components)

    def mixtures(self, episode: Episode) -> Iterator[Mixtures]:
        """The mixtures of each stage, fitted to all shots together."""
        query, support = feature_map(episode.query), feature_map(episode.support)
        cells = support[:, 0].transpose(1, 2).flatten(2)
        cells = cells if self.switches.support_grad else cells.detach()
        groups = group_masks(episode.support_masks, (support.shape[4], support.shape[5]), self.switches.void_in_bg)
        for start in self.starts(episode):
            prototypes = fit_mixtures(
                cells,
                groups.to(cells),
                sent(start.to(cells.dtype), cells.device),
                kappa=self.switches.kappa,
                iterations=self.switches.em_iterations,
            )
            yield Mixtures(prototypes[:, 0], probability_map(query, prototypes).flip(1))

    def stage_logits(self, episode: Episode) -> list[Tensor]:
        """Logits (B, 2, h, w) of each stage; with an ``activation`` map each stage reads the one before."""
        part = self.activation.join.of_map(feature_map(episode.query))
        stages: list[Tensor] = []
        earlier: Tensor | None = None
        for mixtures in self.mixtures(episode):
            history = mixtures.likely if self.map_into == "history" else earlier
            logits = self.classify(self.refine(self.activation(part, mixtures), history))
            stages.append(logits)
            earlier = logits.softmax(dim=1)
        return stages

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            # without the authors' ratio of rates the head, deep and mostly unnormalised, lags
            return changed(light_recipe(), {"head_lr_factor": CODE}, head_lr_factor=10.0)
        return from_code(
            {
                "freeze": f"{CODE}: all convolutions are trained",
                "bn": f"{CODE}: affine parameters fixed, statistics of the batch, running ones move",
                "augment": f"{CODE}: flips and crops of half to all of the image, supports and query each on its own",
                "train_shots": f"{CODE}: trained with one shot, whatever the evaluation",
            },
            iterations=200_001,
            batch=8,
            lr=3.5e-4,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="poly",
            head_lr_factor=10.0,
            bias_lr_factor=2.0,
            freeze="none",
            bn="stats",
            augment="resized-crop",
            train_shots=1,
        )


def group_masks(masks: Tensor, size: tuple[int, int], void_in_bg: bool = False) -> Tensor:
    """The shares (B, 2, K * h * w), in 0..1, of every support cell that belong to the class, and to the background.

    Masks (B, 1, K, H, W) uint8 are resized bilinearly, with aligned corners, to the features' ``size``; void pixels
    belong to neither unless ``void_in_bg``.
    """
    pixels = torch.cat((masks == 1, background_mask(masks, void_in_bg)), dim=1).float()
    return resize(pixels, size, align_corners=True).flatten(2)


def _is_vgg(backbone: Backbone) -> bool:
    return "pool5" in backbone.stages
