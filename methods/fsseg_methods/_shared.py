"""What several methods share: ranges of switches, support prototypes, and the alignment loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from fsseg_bench.method import VOID, Episode, Method, feature_map
from fsseg_bench.nn.losses import image_losses
from fsseg_bench.nn.prototypes import MapRes, background_mask, cosine_scores, support_prototypes, unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._recipes import biopt_recipe

Count = Annotated[int, Range(least=1)]
"""A whole number from 1 on."""
Share = Annotated[float, Range(least=0, below=1)]
"""A share of what is dropped in training."""


class _PrototypeMethod(Method):
    """Masked average prototypes of the supports, background first."""

    @dataclass(frozen=True)
    class Switches:
        """Of the prototypes, and of the scores."""

        map_res: MapRes = "adjoint"
        """How masks meet features: as if features were upsampled (`adjoint`), or at the features' cells."""
        align_corners: bool = False
        """Whether bilinear resizing aligns the centres of the corner pixels."""
        void_in_bg: bool = False
        """Whether void pixels of supports count as background (1-way only), as in PANet's code."""
        alpha: float = 20.0
        """Factor of the cosines."""

    switches: Switches

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The BiOpt paper's, for its method and the rows of its ablation."""
        return biopt_recipe(protocol, shot)

    def scores(self, episode: Episode) -> Tensor:
        """alpha * cos(query cell, prototype): (B, N+1, h, w)."""
        query = unit_cells(feature_map(episode.query))
        return cosine_scores(query.cells, self.prototypes(episode), alpha=self.switches.alpha)

    def prototypes(self, episode: Episode) -> Tensor:
        """(B, N+1, C): the background (mean over all supports), then each way (mean over its shots)."""
        return support_prototypes(
            feature_map(episode.support),
            episode.support_masks,
            map_res=self.switches.map_res,
            align_corners=self.switches.align_corners,
            void_in_bg=self.switches.void_in_bg,
        )


def labels_of(episode: Episode) -> Tensor:
    """The query labels (B, H, W) of a training episode.

    Raises:
        ValueError: an evaluation episode, which has none.
    """
    if episode.query_labels is None:
        raise ValueError("the loss needs query labels; an evaluation episode has none")
    return episode.query_labels


def alignment_labels(masks: Tensor, void_in_bg: bool) -> Tensor:
    """Support masks (B, N, K, H, W) as labels: 1 the way's class, 0 background, 255 left out.

    Raises:
        UserError: ``void_in_bg`` with several ways.
    """
    return torch.full_like(masks, VOID).masked_fill(background_mask(masks, void_in_bg), 0).masked_fill(masks == 1, 1)


def alignment_losses(scores: Tensor, labels: Tensor, present: Tensor, align_corners: bool) -> Tensor:
    """Alignment loss (PANet, Section 3.4): supports segmented by prototypes of the query's predicted classes.

    Args:
        scores: (B, N, K, 2, h, w) of the supports.
        labels: (B, N, K, H, W) uint8 in {0, 1, 255}.
        present: (B, N+1) bool; a way that the query does not show is skipped.
        align_corners: of the upsampling to the labels' size.

    Returns:
        (B,): the sum over the supports of each one's mean cross-entropy, divided by N * K, skipped ways included.
    """
    losses = image_losses(scores.flatten(0, 2), labels.flatten(0, 2), align_corners).reshape(labels.shape[:3])
    return (losses * present[:, 1:, None]).mean(dim=(1, 2))
