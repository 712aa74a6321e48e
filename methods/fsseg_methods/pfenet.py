"""PFENet: a prior from deep features that nobody trains, and a pyramid in which fine maps enrich coarse ones.

Title: Prior Guided Feature Enrichment Network for Few-Shot Segmentation
Authors: Zhuotao Tian et al.
Venue: TPAMI
Year: 2020
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: each query cell's best cosine with the support's deepest features is an input; trained on middle features.
Differences: the pyramid's sides are shares of the map, as on COCO; the authors' on PASCAL are 60, 30, 15 and 8 cells.
Differences: the head learns at ten times the configured rate, as the code does; its author: once (head_lr_factor=1).
Differences: flips and enlarged random crops; the authors also rotate, blur and draw crops again that lose the object.
Differences: images are stretched to the protocol's square; the authors pad them with zeros at bottom and right.
Differences: training samples as the protocol draws them; the authors' leave out objects below 2048 pixels.
Differences: the last checkpoint; the authors keep the one that is best on the test classes.
Differences: a backbone without the deepest stage is compared in its last one, which is then also the middle.
Differences: heads below 256 channels start from He's weights and without dropout (small forms, ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import start
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._adaptive import adaptive_average
from fsseg_methods._embedding import HeadSizes, HeadSwitches
from fsseg_methods._prior import (
    LAYOUT,
    Merge,
    ResidualPair,
    cell_weights,
    classifier,
    joined,
    plain_block,
    prior_masks,
    read_levels,
    support_vectors,
)
from fsseg_methods._shared import CODE, from_code, labels_of, light_recipe


class PFENet(Method):
    """Enriches embedded middle features of the query with a support vector and a prior, at several resolutions."""

    @dataclass(frozen=True)
    class Switches(HeadSwitches):
        """Of the pyramid and its training."""

        bins: tuple[Annotated[float, Range(above=0)], ...] = (1.0, 0.5, 0.25, 0.125)
        """Sides of the pyramid's maps, fine to coarse: up to 1 a share of the query map's, above 1 in cells."""
        inner_weight: Annotated[float, Range(least=0)] = 1.0
        """Weight of the mean loss of the pyramid's own classifiers."""

        def __post_init__(self) -> None:
            if not self.bins:
                raise ValueError("bins: the pyramid needs at least one map")

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "resnet50-deep"
    layout: ClassVar[Layout] = LAYOUT

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        sizes = HeadSizes.of(switches, backbone)
        self.embed_query = sizes.embedding(backbone)
        self.embed_support = sizes.embedding(backbone)
        self.pyramid = Pyramid(sizes.width, len(switches.bins), dropout=sizes.classifier_dropout)
        if sizes.light:
            for part in (self.embed_query, self.embed_support, self.pyramid):
                start(part)

    def encode(self, images: Tensor) -> Features:
        """Embedded middle features of queries (M, width, h, w), and deep ones (M, C, h, w), all >= 0."""
        levels = read_levels(self.backbone, images)
        return self.embed_query(joined(levels.middle)), levels.deep

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """The same of supports, whose deep stage sees the middle features under the mask alone."""
        levels = read_levels(self.backbone, images, masks)
        return self.embed_support(joined(levels.middle)), levels.deep

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """Queries first, then the supports shot by shot: each pass has batch-norm statistics of its own."""
        query = self.encode(queries)
        by_shot = zip(_shots(supports, len(queries)), _shots(masks, len(queries)), strict=True)
        passes = [self.encode_support(images, shown) for images, shown in by_shot]
        return tuple(torch.stack(levels, dim=1).flatten(0, 1) for levels in zip(*passes, strict=True)), query

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W) at image size."""
        branches = self.branches(episode)
        logits: Tensor = self.pyramid.fuse(branches, _cells(episode.query[0]))
        return resize(logits, episode.size, align_corners=True)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query, and the mean of those of the pyramid's own classifiers."""
        labels = labels_of(episode)
        branches = self.branches(episode)
        logits = self.pyramid.fuse(branches, _cells(episode.query[0]))
        inner = [segmentation_loss(own, labels, align_corners=True) for own in self.pyramid.classified(branches)]
        return {
            "query": segmentation_loss(logits, labels, align_corners=True),
            "inner": self.switches.inner_weight * torch.stack(inner).mean(),
        }

    def branches(self, episode: Episode) -> list[Tensor]:
        """The pyramid's maps (B, width, h_i, w_i) of an episode, fine to coarse."""
        query = episode.query[0]
        vector, prior = self.guidance(episode)
        sizes = bin_sizes(self.switches.bins, _cells(query))
        branches: list[Tensor] = self.pyramid(query, vector.mean(dim=1), prior.mean(dim=1, keepdim=True), sizes)
        return branches

    def guidance(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Support vectors (B, K, width) and priors (B, K, h, w) of the shots, those of empty masks 0."""
        support, deep = (level[:, 0] for level in episode.support)
        weights = cell_weights(episode.support_masks[:, 0], support)
        return support_vectors(support, weights), prior_masks(episode.query[1], deep, weights)

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, the same for any number of shots."""
        if protocol.synthetic:
            return light_recipe()
        coco = protocol.trains_like_coco
        epochs = (
            "50 epochs of the 82,081 images of its COCO list" if coco else "200 epochs of the 5,953 images of its list"
        )
        return from_code(
            {
                "iterations": f"{CODE}: {epochs}, of which a fold keeps those with large base objects",
                "batch": f"{CODE}: on four GPUs together" if coco else CODE,
                "head_lr_factor": f"{CODE}, as it runs; by its author the configured rate is not multiplied (1)",
                "augment": "ours: the authors scale, rotate, blur, flip and crop",
            },
            iterations=128_250 if coco else 297_650,
            batch=32 if coco else 4,
            lr=0.02 if coco else 2.5e-3,
            head_lr_factor=10.0,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="poly",
            freeze="all",
            bn="stats",
            augment="enlarged-crop",
            train_shots=1,
        )


class Pyramid(nn.Module):
    """The query at several resolutions, each told the support vector, the prior and the next finer map."""

    def __init__(self, width: int, count: int, *, dropout: float) -> None:
        """Builds the layers of ``count`` maps of ``width`` channels; ``dropout`` is that of the classifiers."""
        super().__init__()
        self.merge = nn.ModuleList(Merge(width) for _ in range(count))
        self.enrich = nn.ModuleList(plain_block(2 * width, width) for _ in range(count - 1))
        self.refine = nn.ModuleList(ResidualPair(width) for _ in range(count))
        self.inner = nn.ModuleList(classifier(width, dropout=dropout) for _ in range(count))
        self.join = plain_block(count * width, width)
        self.refine_joined = ResidualPair(width)
        self.classify = classifier(width, dropout=dropout)

    def forward(self, query: Tensor, vector: Tensor, prior: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Query (B, width, h, w), vector (B, width) and prior (B, 1, h', w') to one map of each size."""
        branches: list[Tensor] = []
        for place, size in enumerate(sizes):
            merged = self.merge[place](adaptive_average(query, size), vector, resize(prior, size, align_corners=True))
            if place:
                # by way of the query's size, as in the authors' code
                finer = resize(resize(branches[-1], _cells(query), align_corners=True), size, align_corners=True)
                merged = merged + self.enrich[place - 1](torch.cat((merged, finer), dim=1))
            branches.append(self.refine[place](merged))
        return branches

    def fuse(self, branches: Sequence[Tensor], cells: tuple[int, int]) -> Tensor:
        """All maps, brought to ``cells``, to logits (B, 2, *cells)."""
        together = torch.cat([resize(branch, cells, align_corners=True) for branch in branches], dim=1)
        logits: Tensor = self.classify(self.refine_joined(self.join(together)))
        return logits

    def classified(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Logits (B, 2, h_i, w_i) of each map's own classifier."""
        return [own(branch) for own, branch in zip(self.inner, branches, strict=True)]


def bin_sizes(bins: Sequence[float], cells: tuple[int, int]) -> list[tuple[int, int]]:
    """Sides of the pyramid's maps for a query map of ``cells``: shares rounded down, at least one cell; or cells.

    Example:
        >>> bin_sizes((1.0, 0.125, 8), (60, 47))
        [(60, 47), (7, 5), (8, 8)]
    """
    return [
        (int(side), int(side)) if side > 1 else (max(1, int(cells[0] * side)), max(1, int(cells[1] * side)))
        for side in bins
    ]


def _cells(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _shots(tensor: Tensor, episodes: int) -> tuple[Tensor, ...]:
    """What belongs to each shot, of a tensor whose first axis holds the shots of one episode after another."""
    return tensor.view(episodes, -1, *tensor.shape[1:]).unbind(dim=1)
