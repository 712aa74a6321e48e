"""FWB: features weighted by how well they tell class from background, and an ensemble boosted on the supports.

Title: Feature Weighting and Boosting for Few-Shot Segmentation
Authors: Khoi Nguyen and Sinisa Todorovic
Venue: ICCV
Year: 2019
Fidelity: parity
Transductive: no
Test-time training: class vector, {steps} Adam steps on the supports' masks (boosting={boosting})
Extra data: none
Distinctive: at test, Adam steps on the class vector give 11 experts, which vote with their IoU on the supports.
Differences: experts weigh by their IoU on the supports; in the released evaluation, by that with the query's truth.
Differences: the released K-shot experts read the last support's low-level map for the query's (last_support_low=true).
Differences: void counts nowhere; in the authors' code it is background (void_in_bg=true).
Differences: a support without foreground or background at stride 8 adds a zero vector; the authors' code gives NaN.
Differences: the protocol's lists, size and last checkpoint; the authors crop 512 pixels and choose by test IoU.
Differences: as released, batch-norm statistics follow the query alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fsseg_bench.method import VOID, Episode, Features, Method, Prediction
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.layout import Layout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import background_mask
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._fwb.boosting import vote
from fsseg_methods._fwb.experts import (
    NONE,
    ClassVectors,
    Ensemble,
    ExitLayer,
    class_means,
    experts,
    similarity,
    weighted_cells,
    weighted_vector,
)
from fsseg_methods._shared import CODE, changed, from_code, labels_of, light_recipe

_LOW = ("pool2", "layer1")
_RESNET_MOMENTUM = 0.05
_MAJORITY = 0.5


class FWB(Method):
    """Low-level features times the relevance-weighted similarity, then two convolutions; boosted at test."""

    @dataclass(frozen=True)
    class Switches:
        """Of the class vector, the boosting and its vote."""

        boosting: bool = True
        """Whether predictions are the experts' vote; otherwise those of the trained network as it is."""
        relevance: bool = True
        """Whether channels are weighted by r = (f - b) / |f - b|."""
        threshold: float = 0.8
        """The score above which a pixel is foreground."""
        normalise_score: bool = False
        """Whether the score is divided by the sum of the experts' weights, and compared with 0.5 instead."""
        steps: Annotated[int, Range(least=0)] = 10
        """Adam steps of the boosting; there is one expert more."""
        last_support_low: bool = False
        """Whether the experts segment the last support's low-level map instead of the query's, as the released code
        does with several shots."""
        void_in_bg: bool = False
        """Whether void counts as background in supports and labels, as in the authors' code."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    needs_grad_at_test: ClassVar[bool] = True
    default_backbone: ClassVar[str] = "resnet101"
    layout: ClassVar[Layout] = Layout(
        families=(VGGLayout(batch_norm=True, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 2, 4)),), levels=True
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        low = next((stage for stage in _LOW if stage in backbone.stages), backbone.stages[-1])
        self.levels = (low, backbone.stages[-1])
        self.exit = ExitLayer(backbone.channels[low])
        if "layer1" in backbone.stages:
            _as_in_resnet(backbone, self.exit)

    def encode(self, images: Tensor) -> Features:
        """Low-level features (M, D, h, w), stride 4, and top features (M, C, h', w'), stride 8 and signed."""
        return self.backbone.levels(images, self.levels)

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """The query first, which moves the batch-norm statistics; then the supports with them, without gradient."""
        query = self.encode(queries)
        training = self.backbone.training
        self.backbone.eval()
        try:
            with torch.no_grad():
                support = self.encode(supports)
        finally:
            self.backbone.train(training)
        return support, query

    def predict(self, episode: Episode) -> Tensor | Prediction:
        """Logits (B, 2, H, W) at image size: the experts' score against the threshold, or the network's own."""
        if not self.switches.boosting:
            return self.logits(episode)
        ensemble = self.ensemble(episode)
        weights = ensemble.ious.mean(dim=2)
        score, bound = vote(ensemble.masks, weights), self.switches.threshold
        if self.switches.normalise_score:
            score, bound = score / (weights.sum(dim=1)[:, None, None] + NONE), _MAJORITY
        logits = torch.stack((torch.full_like(score, bound), score), dim=1)
        return Prediction(logits, {"support_iou": weights, "support_loss": ensemble.losses.mean(dim=2)})

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query; gradients reach the trunk through the query's features alone."""
        labels = labels_of(episode, void=0 if self.switches.void_in_bg else VOID)
        return {"query": segmentation_loss(self.logits(episode), labels)}

    def logits(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W) without boosting."""
        low, top = episode.query
        known = self.class_vectors(episode)
        alike = similarity(weighted_cells(top, known.relevance), known.vector, low.shape[-2:])
        return resize(self.exit(low * alike), episode.size, align_corners=True)

    def class_vectors(self, episode: Episode) -> ClassVectors:
        """Weighted class vector and relevance, constants as far as gradients go."""
        _, top = episode.support
        masks = episode.support_masks[:, 0]
        background = background_mask(episode.support_masks, self.switches.void_in_bg)[:, 0]
        means = class_means(top.detach().flatten(0, 2), (masks == 1).flatten(0, 1), background.flatten(0, 1))
        sums = means.unflatten(0, masks.shape[:2]).sum(dim=1)
        return weighted_vector(sums[:, 0], sums[:, 1], relevance=self.switches.relevance)

    def ensemble(self, episode: Episode) -> Ensemble:
        """The boosted experts and their masks of the query."""
        known = self.class_vectors(episode)
        masks = episode.support_masks[:, 0]
        labels = masks.masked_fill(masks == VOID, 0) if self.switches.void_in_bg else masks
        low, top = episode.support
        shots = ((low[:, 0, k], top[:, 0, k], labels[:, k]) for k in range(episode.shots))
        return experts(
            *known,
            *episode.query,
            *(tensor for shot in shots for tensor in shot),
            exit_layer=self.exit,
            size=episode.size,
            steps=self.switches.steps,
            last_support_low=self.switches.last_support_low,
        )

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training on pairs, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            return changed(light_recipe(), {"train_shots": CODE, "bn": CODE}, train_shots=1, bn="train")
        return from_code(
            {"iterations": f"{CODE}; 20,000 in one of its scripts"},
            iterations=10_000,
            batch=8,
            lr=7e-3,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="poly",
            freeze="none",
            bn="train",
            augment="none",
            train_shots=1,
        )


def _as_in_resnet(backbone: nn.Module, exit_layer: ExitLayer) -> None:
    """The exit layer's start and the batch-norms' momentum of the authors' ResNet; their VGG has PyTorch's."""
    for layer in (exit_layer.inner, exit_layer.outer):
        nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.kernel_size[0] ** 2 * layer.out_channels)))
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _RESNET_MOMENTUM
