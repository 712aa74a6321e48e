"""What the part-aware methods share: parts of supports and query, scores, the alignment and semantic losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.host import sent
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import (
    assigned,
    background_mask,
    cosine_scores,
    masked_average,
    support_prototypes,
    unit_cells,
)
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._ppnet.parts import Rows, drawn_rows, part_centres, row_counts, rows_of_masks
from fsseg_methods._shared import CODE, Count, alignment_labels, alignment_losses, from_code, labels_of, light_recipe

_BACKGROUND_ZOOM, _FOREGROUND_ZOOM = 1, 2
_DILATIONS = (6, 12, 18, 24)  # of the semantic branch


class Parts(NamedTuple):
    """The part prototypes of each class, background first."""

    centres: Tensor
    """(B, N+1, P, C) centres of the clusters."""
    whole: Tensor
    """(B, N+1, C), g: the masked averages of PANet."""
    prototypes: Tensor
    """(B, N+1, P, C): centre + lambda g."""


class SemanticHead(nn.Module):
    """A side branch that tells the training classes apart, and gives the features a reason to mean something.

    It is the sum of parallel dilated 3x3 convolutions from features of ``channels`` to ``classes`` scores a cell,
    background included.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, classes, 3, padding=dilation, dilation=dilation) for dilation in _DILATIONS
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d)
            assert branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (M, classes, h, w) of features (M, channels, h, w), which are rectified first."""
        rectified = F.relu(features)
        return torch.stack([branch(rectified) for branch in self.branches]).sum(dim=0)


class _PartMethod(Method):
    """Scores alpha * max_j cos(query cell, part j); the parts come from k-means over the supports' features."""

    stochastic: ClassVar[bool] = True
    reads_class_labels: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Switches:
        """Of the parts, the scores and the losses."""

        parts: Count = 5
        """Clusters of each class, background included."""
        assignments: Count = 10
        """How often k-means assigns features to clusters."""
        part_weight: float = 0.5
        """Lambda, the share of the whole prototype in each part; the authors' 0.5 goes with the semantic branch, 0.8
        with parts alone and with unlabelled images."""
        semantic_weight: float = 0.1
        """Weight of the semantic loss; 0 leaves the branch out (parts alone)."""
        align_weight: float = 1.0
        """Weight of the alignment loss; 0 leaves it out."""
        void_in_bg: bool = False
        """Whether void pixels of supports count as background (1-way only), as in the authors' code."""
        alpha: float = 20.0
        """Factor of the cosines."""

    switches: Switches

    def __init__(self, backbone: Backbone, base_classes: int, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.semantic = SemanticHead(backbone.out_channels, base_classes + 1) if switches.semantic_weight else None

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, N+1, H, W), enlarged with aligned corners, as the loss does."""
        scores = self._scored(episode, drawn_numbers(episode.seeds, episode.ways, self.switches.parts))
        return resize(scores, episode.size, align_corners=True)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query, and the weighted alignment (mean over episodes) and semantic losses."""
        uniform = drawn_numbers(episode.seeds, episode.ways, self.switches.parts)
        scores = self._scored(episode, uniform)
        losses = {"query": segmentation_loss(scores, labels_of(episode), align_corners=True)}
        if self.switches.align_weight:
            losses["align"] = self.switches.align_weight * self.alignment_loss(episode, scores, uniform).mean()
        if self.semantic is not None:
            losses["semantic"] = self.switches.semantic_weight * self._semantic_loss(self.semantic, episode)
        return losses

    def query_parts(self, episode: Episode, parts: Parts) -> Tensor:
        """The prototypes (B, N+1, P, C) that score the query, from those of the supports."""
        return parts.prototypes

    def support_parts(self, episode: Episode, uniform: Tensor) -> Parts:
        """Parts of the supports; all shots of a way, and all supports' background, are clustered together."""
        support = feature_map(episode.support)
        whole = support_prototypes(
            support, episode.support_masks, align_corners=True, void_in_bg=self.switches.void_in_bg
        )
        rows = self.support_rows(episode)
        starts = drawn_rows(row_counts(rows), sent(uniform[:, 0], support.device))
        centres = part_centres(support.flatten(1, 2), rows, starts, self.switches.assignments)
        return self._joined(centres, whole)

    def support_rows(self, episode: Episode) -> Rows:
        """Rows of the lists (background, then ways): foreground at twice the features' size, background at theirs."""
        _, N, K = episode.support_masks.shape[:3]
        background = background_mask(episode.support_masks, self.switches.void_in_bg)
        masks = torch.stack((background, episode.support_masks == 1), dim=3).flatten(1, 2)
        owners = tuple((0, 1 + way) for way in range(N) for _ in range(K))
        size = (masks.shape[3], masks.shape[4])
        return rows_of_masks(masks, owners, _cells(episode.support), size, (_BACKGROUND_ZOOM, _FOREGROUND_ZOOM))

    def predicted_parts(self, episode: Episode, scores: Tensor, uniform: Tensor) -> tuple[Parts, Tensor]:
        """Parts of the query's predicted classes, and (B, N+1) bool: whether any cell is predicted as the class."""
        query = feature_map(episode.query)
        masks = assigned(scores)
        whole = masked_average(query, masks)
        rows = predicted_rows(masks, episode.size)
        starts = drawn_rows(row_counts(rows), sent(uniform[:, 1], query.device))
        centres = part_centres(query[:, None], rows, starts, self.switches.assignments)
        return self._joined(centres, whole), masks.sum(dim=(2, 3)) > 0

    def alignment(self, episode: Episode, scores: Tensor, present: Tensor) -> Tensor:
        """(B,) from the supports' scores (B, N, K, 2, h, w) and the ways (B, N+1) that the query shows."""
        labels = alignment_labels(episode.support_masks, self.switches.void_in_bg)
        return alignment_losses(scores, labels, present, align_corners=True)

    def support_scores(self, episode: Episode, prototypes: Tensor) -> Tensor:
        """Supports scored with the parts (B, N+1, P, C) of the background and their own way: (B, N, K, 2, h, w)."""
        B, N, K = episode.support_masks.shape[:3]
        pairs = torch.stack((prototypes[:, :1].expand(-1, N, -1, -1), prototypes[:, 1:]), dim=2)
        repeated = pairs[:, :, None].expand(-1, -1, K, -1, -1, -1)
        scores = part_scores(feature_map(episode.support).flatten(0, 2), repeated.flatten(0, 2), self.switches.alpha)
        by_support: Tensor = scores.unflatten(0, (B, N, K))
        return by_support

    def semantic_logits(self, head: SemanticHead, episode: Episode) -> Tensor:
        """Scores (B*N*K + B, base classes + 1, h, w) of the supports, then the queries."""
        scores: Tensor = head(torch.cat((feature_map(episode.support).flatten(0, 2), feature_map(episode.query))))
        return scores

    def _scored(self, episode: Episode, uniform: Tensor) -> Tensor:
        parts = self.query_parts(episode, self.support_parts(episode, uniform))
        return part_scores(feature_map(episode.query), parts, self.switches.alpha)

    def _joined(self, centres: Tensor, whole: Tensor) -> Parts:
        return Parts(centres, whole, centres + self.switches.part_weight * whole[:, :, None])

    def alignment_loss(self, episode: Episode, scores: Tensor, uniform: Tensor) -> Tensor:
        parts, present = self.predicted_parts(episode, scores, uniform)
        return self.alignment(episode, self.support_scores(episode, parts.prototypes), present)

    def _semantic_loss(self, head: SemanticHead, episode: Episode) -> Tensor:
        labels = episode.class_labels
        if labels is None:
            raise ValueError("the semantic loss needs class_labels; only training episodes have them")
        images = torch.cat((labels.support.flatten(0, 2), labels.query))
        return segmentation_loss(self.semantic_logits(head, episode), images, align_corners=True)

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            return light_recipe()
        biases = {f"semantic.branches.{i}.bias": 20.0 for i in range(len(_DILATIONS))}
        return from_code(
            {
                "lr_factors": f"{CODE}, its nominal rates: its optimiser lists these tensors twice",
                "weight_decay": f"{CODE}, which leaves the four biases of the semantic branch out",
            },
            iterations=24_000,
            batch=1,
            lr=5e-4,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="step",
            milestones=(10_000, 20_000),
            gamma=0.1,
            lr_factors={"semantic.": 10.0, **biases},
            freeze="layer2",
            bn="train",
            augment="flip",
        )


def part_scores(features: Tensor, prototypes: Tensor, alpha: float) -> Tensor:
    """alpha * max_j cos(cell, part j): (B, L, h, w) from features (B, C, h, w) and parts (B, L, P, C)."""
    cosines = cosine_scores(unit_cells(features).cells, prototypes.flatten(1, 2), alpha=alpha)
    best: Tensor = cosines.unflatten(1, prototypes.shape[1:3]).max(dim=2).values
    return best


def predicted_rows(masks: Tensor, size: tuple[int, int]) -> Rows:
    """Rows of the query's predicted classes, (B, N+1, h, w) one-hot, all at twice the features' size."""
    groups, cells = masks.shape[1], (masks.shape[2], masks.shape[3])
    return rows_of_masks(masks[:, None] > 0, (tuple(range(groups)),), cells, size, (_FOREGROUND_ZOOM,) * groups)


def drawn_numbers(seeds: tuple[int, ...], ways: int, parts: int) -> Tensor:
    """Numbers (B, 2, N+1, P) in [0, 1) that choose the starts: of the supports' lists, then of the query's.

    Lists are in the order background, ways; they are drawn as in the authors' code: the supports' ways, their
    background, the query's background, its ways.
    """
    drawn = [torch.rand(2, ways + 1, parts, generator=torch.Generator().manual_seed(s)).double() for s in seeds]
    # drawn ways first and background last, as the authors do for supports; lists here begin with the background
    numbers = torch.stack(drawn)
    return torch.stack((numbers[:, 0].roll(1, dims=1), numbers[:, 1]), dim=1)


def _cells(features: Tensor | tuple[Tensor, ...]) -> tuple[int, int]:
    height, width = feature_map(features).shape[-2:]
    return height, width
