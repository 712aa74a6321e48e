"""RePRI: a segmenter of the base classes, on whose features each query gets a linear classifier of its own.

Title: Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You Need?
Authors: Malik Boudiaf et al.
Venue: CVPR
Year: 2021
Fidelity: parity
Transductive: own query
Test-time training: classifier and bias, {steps} gradient steps on supports and query
Extra data: none
Distinctive: no episodes in training; a classifier is fitted to the query itself, held to proportions and certainty.
Differences: all cells of the query count; in the authors' code not those that its true mask calls void (`truth=void`).
Differences: novel classes in training images are as the protocol says; the authors ignore their pixels.
Differences: base images are those with a base class; the authors' lists hold images of unseen classes alone, too.
Differences: horizontal flips; the authors also flip upside down.
Differences: images are stretched to the protocol's square; the authors pad them, in training as in the evaluation.
Differences: the last checkpoint; the authors choose theirs by episodes of the test classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fsseg_bench.method import VOID, Episode, Features, Method, Prediction, Stage, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.prototypes import unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._prior import LAYOUT
from fsseg_methods._pspnet import PSPHead, SmoothedPSPNet, smoothed_loss
from fsseg_methods._repri import Fit, FitSwitches, cell_labels, fit, logits
from fsseg_methods._shared import CODE, changed, from_code, light_recipe

_LIST = {False: "100 epochs of the 5,953 images of its list", True: "20 epochs of the 82,081 images of its COCO list"}
_LAST_RATE = 1e-6


class RePRI(Method):
    """A classifier of a query's cells, fitted to supports and query at test; its features are learned beforehand."""

    @dataclass(frozen=True)
    class Switches(FitSwitches):
        """Of the classifier's fit."""

        truth: Literal["none", "void", "proportions"] = "none"
        """What the fit reads of the query's **true mask**, which a method must not: nothing; its void cells, which then
        count nowhere, as in the authors' code; or also the object's share of the others as the proportions, which
        stay (an oracle: what better proportions would gain)."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    reads_class_labels: ClassVar[bool] = True
    default_backbone: ClassVar[str] = "resnet50-deep"
    layout: ClassVar[Layout] = LAYOUT

    def __init__(self, backbone: Backbone, base_classes: int, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.base = PSPHead(backbone.out_channels, base_classes)

    def encode(self, images: Tensor) -> Features:
        """What the base network classifies, (M, width, h, w)."""
        return self.base.features(feature_map(self.backbone(images)).relu())

    def predict(self, episode: Episode) -> Prediction:
        """Logits (B, 2, H, W) at image size: 0 and the classifier's.

        Diagnostics are (B, T+1), after 0..T steps: ``cross_entropy`` of the supports, ``kl`` and ``entropy`` of the
        query, and of the foreground the mean prediction (``foreground``) and what it is held to (``proportion``).
        """
        query = unit_cells(feature_map(episode.query)).cells
        found = self.fitted(query, episode)
        last = found.prototypes[:, -1], found.biases[:, -1]
        names = ("cross_entropy", "kl", "entropy", "foreground", "proportion")
        values = found._asdict()
        return Prediction(
            logits(query, *last, alpha=self.switches.alpha, size=episode.size), {name: values[name] for name in names}
        )

    @property
    def reads_truth(self) -> bool:
        """With ``truth``."""
        return self.switches.truth != "none"

    def fitted(self, query: Tensor, episode: Episode) -> Fit:
        """The classifier of the query's unit cells (B, C, h, w), of which all are valid: no image is padded.

        With ``truth`` those that are void are not, unless all are.
        """
        features = feature_map(episode.support)[:, 0]
        support = unit_cells(features.flatten(0, 1)).cells.view_as(features)
        labels = cell_labels(episode.support_masks[:, 0], (support.shape[3], support.shape[4]))
        if not self.reads_truth:
            return fit(query, support, labels, torch.ones_like(query[:, 0], dtype=torch.bool), options=self.switches)
        if episode.query_labels is None:
            raise ValueError(f"truth={self.switches.truth} needs the query's labels")
        truth = cell_labels(episode.query_labels[:, None], (query.shape[2], query.shape[3]))[:, 0]
        known = truth != VOID
        known |= ~known.any(dim=(1, 2), keepdim=True)
        if self.switches.truth == "void":
            return fit(query, support, labels, known, options=self.switches)
        share = ((truth == 1) & known).sum(dim=(1, 2)) / known.sum(dim=(1, 2))
        return fit(query, support, labels, known, share.to(query.dtype), options=self.switches)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """That of the base network on all images of the episode: the recipe has no episodes, a user may have some."""
        shown = episode.class_labels
        if shown is None:
            raise ValueError("the loss needs the labels of all base classes")
        features = torch.cat((feature_map(episode.query), feature_map(episode.support).flatten(0, 2)))
        labels = torch.cat((shown.query, shown.support.flatten(0, 2)))
        return {"base": smoothed_loss(self.base.classify(features), labels)}

    @classmethod
    def stages_before(cls, protocol: Protocol, shot: int) -> tuple[Stage, ...]:
        """The base network's training: all that is learned."""
        return (Stage("base", SmoothedPSPNet, _base_recipe(protocol)),)

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """No step: the base network is taken as it is. The other values are the stage's."""
        return changed(_base_recipe(protocol), {"iterations": f"{CODE}: nothing is trained in episodes"}, iterations=0)


def _base_recipe(protocol: Protocol) -> Recipe:
    """The authors' training of the base network."""
    if protocol.synthetic:
        why = {"bn": "ours: from scratch, statistics are learned here and fixed afterwards"}
        return changed(light_recipe(), why, bn="train")
    coco = protocol.trains_like_coco
    rate = 2.5e-3
    return from_code(
        {
            "iterations": f"{CODE}: {_LIST[coco]}",
            "gamma": f"{CODE}: down to a rate of 1e-6",
            "augment": "ours: the authors flip in both directions",
        },
        iterations=136_802 if coco else 49_608,
        batch=12,
        lr=rate,
        optimizer="sgd-nesterov",
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine-to-gamma",
        gamma=_LAST_RATE / rate,
        freeze="none",
        bn="train",
        augment="flip",
    )
