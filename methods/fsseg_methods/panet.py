"""PANet: prototypes that must also explain the support, predicted back from the query.

Title: PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment
Authors: Kaixin Wang et al.
Venue: ICCV
Year: 2019
Fidelity: parity
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: alignment loss in training: the query's predicted classes give prototypes that segment the supports.
Differences: void pixels of supports are left out; the authors' code pools them into the background (void_in_bg=true).
Differences: the protocol's training lists and episodes; the authors' PASCAL runs test on images that training saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fsseg_bench.method import Episode, feature_map
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import assigned, cosine_scores, masked_average, unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._shared import (
    FIXED_BN,
    _PrototypeMethod,
    alignment_labels,
    alignment_losses,
    from_code,
    labels_of,
    light_recipe,
)


class PANet(_PrototypeMethod):
    """Scores alpha * cos(query cell, prototype), trained with the alignment loss."""

    @dataclass(frozen=True)
    class Switches(_PrototypeMethod.Switches):
        """Of the prototypes, the scores and the alignment loss."""

        align_weight: float = 1.0
        """Weight of the alignment loss; 0 leaves it out."""

    switches: Switches

    default_backbone: ClassVar[str] = "vgg16"

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, N+1, h, w)."""
        return self.scores(episode)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query, and the weighted alignment loss (mean over episodes)."""
        scores = self.predict(episode)
        losses = {"query": segmentation_loss(scores, labels_of(episode), self.switches.align_corners)}
        if self.switches.align_weight:
            losses["align"] = self.switches.align_weight * self.alignment_loss(episode, scores).mean()
        return losses

    def alignment_loss(self, episode: Episode, scores: Tensor) -> Tensor:
        """Alignment loss (B,) from the query's scores (B, N+1, h, w)."""
        prototypes, present = query_prototypes(feature_map(episode.query), scores)
        back = support_scores(feature_map(episode.support), prototypes, self.switches.alpha)
        return alignment_losses(
            back,
            alignment_labels(episode.support_masks, self.switches.void_in_bg),
            present,
            self.switches.align_corners,
        )

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            return light_recipe()
        return from_code(
            {"bn": FIXED_BN},
            iterations=30_000,
            batch=1,
            lr=1e-3,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="step",
            milestones=(10_000, 20_000),
            gamma=0.1,
            freeze="none",
            bn="eval",
            augment="flip",
        )


def query_prototypes(query: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Prototypes (B, N+1, C) of the query's predicted classes, and (B, N+1) bool: whether any cell is of the class.

    From features (B, C, h, w) and scores (B, N+1, h, w): a cell's class is its largest, without gradient.
    """
    cells = assigned(scores)
    return masked_average(query, cells), cells.sum(dim=(2, 3)) > 0


def support_scores(support: Tensor, prototypes: Tensor, alpha: float) -> Tensor:
    """Supports (B, N, K, C, h, w) scored with the background and their own way: (B, N, K, 2, h, w)."""
    B, N, K = support.shape[:3]
    background = prototypes[:, :1].expand(-1, N, -1)
    pairs = torch.stack((background, prototypes[:, 1:]), dim=2)
    repeated = pairs[:, :, None].expand(-1, -1, K, -1, -1)
    cells = unit_cells(support.flatten(0, 2)).cells
    return cosine_scores(cells, repeated.flatten(0, 2), alpha=alpha).reshape(B, N, K, 2, *cells.shape[-2:])
