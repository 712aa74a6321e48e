"""SSP: the query's own confident cells make the prototypes with which it is segmented again.

Title: Self-Support Few-Shot Semantic Segmentation
Authors: Qi Fan et al.
Venue: ECCV
Year: 2022
Fidelity: parity
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: prototypes from the query's confident cells; each cell has a background prototype of its own.
Differences: flips in training; the authors also cut 473 x 473 pixels out of the unresized image, object or not.
Differences: the last checkpoint; the authors chose theirs on episodes of the test classes.
Differences: the protocol's training lists and episodes; the authors need 2,048 pixels of the class in a support.
Differences: equal probabilities go by the cells' order where the 12 highest are taken; a zero feature has cosine 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.layout import Layout, ResNetLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import masked_average, support_prototypes, unit
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._shared import Count, Share, from_code, labels_of, light_recipe

_SCALE = 10.0  # of every cosine
_SUPPORT_WEIGHT = 0.2  # of the supports' loss


class SSP(Method):
    """Scores the query with the support's prototypes, then with prototypes from its own confident cells.

    Its parameters are the backbone's. The affinities of all pairs of cells of a query are in memory at once:
    4 (h w)^2 bytes an episode, 52 MB for 60 x 60 cells.
    """

    @dataclass(frozen=True)
    class Switches:
        """Of the cells that make prototypes, and of the steps."""

        refine: bool = True
        """Whether the step is done a second time, from its own result."""
        foreground: Share = 0.7
        """Probability above which a query cell counts as object."""
        background: Share = 0.6
        """Probability above which a query cell counts as background."""
        fallback: Count = 12
        """How many cells, the most probable ones, count where none is above."""
        query_weight: Annotated[float, Range(least=0)] = 1.0
        """Weight of the loss of the query scored with prototypes of its true labels."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "resnet50-deep"
    layout: ClassVar[Layout] = Layout(families=(ResNetLayout(last="layer3"),))

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, 2, H, W) of the last step, at image size."""
        return resize(self.steps(episode)[-1].scores, episode.size, align_corners=True)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of each step, and of query and supports scored with the prototypes of their own labels."""
        labels = labels_of(episode)
        losses = {
            f"step{place}": segmentation_loss(step.scores, labels, align_corners=True)
            for place, step in enumerate(self.steps(episode), start=1)
        }
        own = own_scores(feature_map(episode.query), labels)
        losses["query_self"] = self.switches.query_weight * segmentation_loss(own, labels, align_corners=True)
        masks = episode.support_masks.flatten(0, 2)
        supports = own_scores(feature_map(episode.support).flatten(0, 2), masks)
        losses["support_self"] = _SUPPORT_WEIGHT * segmentation_loss(supports, masks, align_corners=True)
        return losses

    def steps(self, episode: Episode) -> list[Step]:
        """What one or two steps give, in order."""
        features = feature_map(episode.query)
        background, foreground = support_prototypes(
            feature_map(episode.support), episode.support_masks, map_res="bilinear", align_corners=True
        ).unbind(1)
        own = self.self_support(features, cosines(features, foreground, background))
        object_, behind = 0.5 * foreground + 0.5 * own.foreground, own.mixed_background
        first = Step(own, object_, behind, cosines(features, object_, behind))
        if not self.switches.refine:
            return [first]
        own = self.self_support(features, first.scores)
        object_ = 0.5 * foreground + 0.2 * first.foreground + 0.3 * (0.5 * foreground + 0.5 * own.foreground)
        behind = 0.5 * background[..., None, None] + 0.2 * first.background + 0.3 * own.mixed_background
        scores = 0.7 * cosines(features, object_, behind) + 0.3 * first.scores
        return [first, Step(own, object_, behind, scores)]

    def self_support(self, features: Tensor, scores: Tensor) -> SelfSupport:
        """:func:`self_support` as the switches say."""
        s = self.switches
        return self_support(features, scores, thresholds=(s.background, s.foreground), fallback=s.fallback)

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training, the same for both data sets, with as many supports as are tested."""
        if protocol.synthetic:
            return light_recipe()
        return from_code(
            {
                "iterations": "the authors' code: 24,000 episodes",
                "augment": "ours: the authors' flips, without their crops of the unresized image",
            },
            iterations=6_000,
            batch=4,
            lr=1e-3,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="step",
            milestones=(2_000, 4_000),
            gamma=0.1,
            freeze="layer1",
            bn="eval",
            augment="flip",
        )


class SelfSupport(NamedTuple):
    """Prototypes from a query's own cells."""

    foreground: Tensor
    """(B, C): the mean of the cells taken for the object."""
    background: Tensor
    """(B, C): the mean of those taken for background."""
    adaptive: Tensor
    """(B, C, h, w): for each cell the mean of the background cells, those most weighed that are most like it."""

    @property
    def mixed_background(self) -> Tensor:
        """(B, C, h, w): the prototypes with which a step scores the background."""
        return 0.3 * self.background[..., None, None] + 0.7 * self.adaptive


class Step(NamedTuple):
    """One step: the prototypes with which the query is scored, and its scores."""

    own: SelfSupport
    foreground: Tensor
    """(B, C)."""
    background: Tensor
    """(B, C, h, w)."""
    scores: Tensor
    """(B, 2, h, w), background first; of the second step, mixed with those of the first."""


@itemwise
def self_support(
    features: Tensor, scores: Tensor, *, thresholds: tuple[float, float] = (0.6, 0.7), fallback: int = 12
) -> SelfSupport:
    """Prototypes from the cells of a query that are confidently background or object.

    Args:
        features: (B, C, h, w).
        scores: (B, 2, h, w) logits, background first; no gradient passes through the choice of cells.
        thresholds: probabilities that a cell must exceed, of background and object.
        fallback: how many of the most probable cells count where none does.
    """
    cells = features.flatten(2)
    probabilities = scores.detach().softmax(dim=1).flatten(2)
    behind, object_ = (
        confident(probabilities[:, place], threshold, fallback) for place, threshold in enumerate(thresholds)
    )
    directions = unit(cells, dim=1)
    affinities = 2 * (directions.mT @ directions)
    weights = affinities.masked_fill(~behind[:, None], -torch.inf).softmax(dim=2)
    adaptive = (cells @ weights.mT).reshape(features.shape)
    return SelfSupport(_mean(cells, object_), _mean(cells, behind), adaptive)


def confident(probabilities: Tensor, threshold: float, fallback: int) -> Tensor:
    """The cells above the threshold or, in a row that has none, the most probable ones: (B, cells) bool."""
    above = probabilities > threshold
    # a stable order: which of equal cells are taken would else depend on device and batch
    order = probabilities.argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)
    return torch.where(above.any(dim=1, keepdim=True), above, ranks < fallback)


def _mean(cells: Tensor, chosen: Tensor) -> Tensor:
    """The mean of chosen (B, cells) of the cells (B, C, cells): (B, C)."""
    shares = chosen.to(cells.dtype) / chosen.sum(dim=1, keepdim=True)
    return (cells @ shares[..., None]).squeeze(2)


def labelled_means(features: Tensor, labels: Tensor) -> Tensor:
    """Masked averages (M, 2, C), background first, of maps (M, C, h, w) with labels (M, H, W)."""
    parts = torch.stack((labels == 0, labels == 1), dim=1)
    return masked_average(features, parts, map_res="bilinear", align_corners=True)


def own_scores(features: Tensor, labels: Tensor) -> Tensor:
    """Maps (M, C, h, w) scored with the prototypes of their own labels: (M, 2, h, w)."""
    means = labelled_means(features, labels)
    return cosines(features, means[:, 1], means[:, 0])


def cosines(features: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """10 cos(cell, prototype) (B, 2, h, w), background first; prototypes (B, C), or (B, C, h, w) one a cell."""
    maps = (p if p.ndim == 4 else p[..., None, None] for p in (background, foreground))
    return torch.cat([_cosine(features, prototype) for prototype in maps], dim=1)


@itemwise
def _cosine(features: Tensor, prototype: Tensor) -> Tensor:
    return _SCALE * (unit(features, dim=1) * unit(prototype, dim=1)).sum(dim=1, keepdim=True)
