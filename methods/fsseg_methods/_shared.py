"""What several methods share: ranges of switches, support prototypes, the alignment loss, and recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from fsseg_bench.method import VOID, Episode, Method, feature_map
from fsseg_bench.nn.losses import image_losses
from fsseg_bench.nn.prototypes import MapRes, background_mask, cosine_scores, support_prototypes, unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range

Count = Annotated[int, Range(least=1)]
"""A whole number from 1 on."""
Share = Annotated[float, Range(least=0, below=1)]
"""A share of what is dropped in training."""
CODE = "the authors' code"
"""The usual source of a value."""
FIXED_BN = "ours: VGG-16 has none; fixed in ResNets"
_PAPER = "BiOpt paper"
_OURS = "ours"


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


def labels_of(episode: Episode, void: int = VOID) -> Tensor:
    """The query labels (B, H, W) of a training episode, with ``void`` in place of 255.

    Raises:
        ValueError: an evaluation episode, which has none.
    """
    if episode.query_labels is None:
        raise ValueError("the loss needs query labels; an evaluation episode has none")
    return episode.query_labels.masked_fill(episode.query_labels == VOID, void)


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


def changed(recipe: Recipe, sources: Mapping[str, str], **values: Any) -> Recipe:
    """A copy with other values and other sources."""
    return dataclasses.replace(recipe, **values, sources={**recipe.sources, **sources})


def from_code(sources: Mapping[str, str], *, source: str = CODE, **values: Any) -> Recipe:
    """A recipe of ``values``, each from ``source`` unless ``sources`` says otherwise."""
    return Recipe(**values, sources={**dict.fromkeys(values, source), **sources})


def biopt_recipe(protocol: Protocol, shot: int) -> Recipe:
    """The BiOpt paper's training for its two data sets, and the light recipe for embedded images."""
    if protocol.synthetic:
        return light_recipe()
    coco = protocol.trains_like_coco
    return Recipe(
        iterations=20_000 if coco else 10_000,
        batch=8 if shot == 1 else 2,
        lr=7e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step" if coco else "constant",
        milestones=(10_000,) if coco else (),
        gamma=0.1,
        freeze="none",
        bn="eval",
        augment="enlarged-crop-supports",
        sources={
            "iterations": f"{_PAPER}, its 'epochs' read as iterations",
            "batch": f"{_PAPER}: 8 for 1 shot, 2 for 5; other shots as 5",
            "lr": f"{_PAPER}, one rate for all parameters",
            "momentum": _PAPER,
            "weight_decay": _PAPER,
            "schedule": f"{_PAPER}: lowered on COCO, nothing stated for PASCAL",
            "milestones": _PAPER,
            "gamma": _PAPER,
            "freeze": f"{_OURS}: not stated",
            "bn": f"{_OURS}: not stated; fixed, so that an episode's loss does not depend on its batch",
            "augment": f"{_PAPER}: 'random crop as in CANet', whose code crops the supports alone",
            "train_shots": f"{_OURS}: as in the evaluation",
        },
    )


def fcn_recipe(protocol: Protocol) -> Recipe:
    """The training of co-FCN's and SG-One's authors, who share it; and a longer light recipe for both."""
    if protocol.synthetic:
        why = dict.fromkeys(("iterations", "lr"), f"{_OURS}: from scratch the loss hardly falls with less")
        return changed(light_recipe(), why, iterations=300, lr=0.1)
    return from_code(
        {"bn": FIXED_BN},
        iterations=100_000,
        batch=1,
        lr=1e-5,
        momentum=0.99,
        weight_decay=5e-4,
        schedule="constant",
        freeze="none",
        bn="eval",
        augment="none",
        train_shots=1,
    )


def canet_recipe(source: str) -> Recipe:
    """The training of CANet's authors, with one support; ``source`` says what it is to the method."""
    return from_code(
        {
            "iterations": f"{source}: 200 epochs of the base classes' pairs, 10,260 in the mean over PASCAL's folds",
            "lr": f"{source}: option 2.5e-4, whose only group runs at ten times that",
            "train_shots": f"{_OURS}: as in the evaluation",
        },
        source=source,
        iterations=513_000,
        batch=4,
        lr=2.5e-3,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="constant",
        freeze="all",
        bn="stats",
        augment="enlarged-crop-supports",
    )


def light_recipe() -> Recipe:
    """For small networks from scratch on images made by code: under a minute on two cores."""
    chosen = ("iterations", "batch", "lr", "schedule", "warmup", "clip", "augment")
    sources = dict.fromkeys(chosen, f"{_OURS}: short and steady for every method")
    return Recipe(
        iterations=150, batch=4, lr=1e-2, schedule="poly", warmup=15, clip=1.0, augment="flip", sources=sources
    )
