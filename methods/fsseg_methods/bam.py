"""BAM: a few-shot learner is told by a segmenter of the base classes what the new class is not.

Title: Learning What Not to Segment: A New Perspective on Few-Shot Segmentation
Authors: Chunbo Lang et al.
Venue: CVPR
Year: 2022
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: the base classes' probability joins the background; unlike scenes of support and query lower confidence.
Differences: base images are those with a base class; the authors' lists hold images of unseen classes alone, too.
Differences: training images that show novel classes are as the protocol says; the authors leave them out.
Differences: the frozen base learner drops no channels in training; in the authors' code it does (noisy_base=true).
Differences: shots are weighed by a network for one number of shots (shots=5 with --shot 5); otherwise alike.
Differences: its constant loss is left out; the authors log the frozen base learner's with the others.
Differences: flips and enlarged random crops; the authors also rotate, blur and draw crops again that lose the object.
Differences: images are stretched to the protocol's square; the authors pad them with zeros at bottom and right.
Differences: the last checkpoint; the authors stop and choose on 1,000 episodes of the test classes an epoch.
Differences: heads below 256 channels start from He's weights and without dropout (small forms, ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method, Stage
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import start
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._bam import Ensemble, Meta, MetaLearner, base_foreground, gram, own_class, scene_differences
from fsseg_methods._embedding import HeadSizes, HeadSwitches
from fsseg_methods._prior import (
    LAYOUT,
    cell_weights,
    joined,
    prior_masks,
    read_levels,
    support_vectors,
)
from fsseg_methods._pspnet import PSPHead, PSPNet
from fsseg_methods._shared import CODE, Count, changed, from_code, labels_of, light_recipe

_LIST = {False: "200 epochs of the 5,953 images of its list", True: "50 epochs of the 82,081 images of its COCO list"}
_BASE_LIST = {False: "100 epochs of 5,953 images", True: "20 epochs of 82,081 images"}


class BAM(Method):
    """A meta learner of the episode's class, corrected by a frozen segmenter of the base classes."""

    @dataclass(frozen=True)
    class Switches(HeadSwitches):
        """Of the meta learner and its training."""

        shots: Count = 1
        """Supports a class that learned weights are for; any other number is weighed alike."""
        noisy_base: bool = False
        """Whether the frozen base learner drops channels in training, as in the authors' code."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    reads_class_labels: ClassVar[bool] = True
    default_backbone: ClassVar[str] = "resnet50-deep"
    layout: ClassVar[Layout] = LAYOUT

    def __init__(self, backbone: Backbone, base_classes: int, switches: Switches) -> None:
        super().__init__(backbone, switches)
        sizes = HeadSizes.of(switches, backbone)
        self.base = PSPHead(backbone.out_channels, base_classes).requires_grad_(False)
        self.embed_query = sizes.embedding(backbone)
        self.embed_support = sizes.embedding(backbone)
        self.meta = MetaLearner(sizes.width, switches.shots, dropout=sizes.classifier_dropout)
        self.ensemble = Ensemble()
        for part in (self.embed_query, self.embed_support, self.meta) if sizes.light else (self.meta.aspp,):
            start(part)

    def train(self, mode: bool = True) -> BAM:
        """Sets training mode; the base learner's statistics never move."""
        super().train(mode)
        noisy = mode and self.switches.noisy_base
        for part in self.base.modules():
            part.training = noisy and isinstance(part, nn.Dropout2d)
        return self

    def encode(self, images: Tensor) -> Features:
        """Of queries: embedded and deep features, Gram matrices (M, C, C), base logits (M, 1 + n, h, w)."""
        levels = read_levels(self.backbone, images)
        return self.embed_query(joined(levels.middle)), levels.deep, gram(levels.middle[0]), self.base(levels.deep)

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """Of supports: the first three, deep features of the object alone."""
        levels = read_levels(self.backbone, images, masks)
        return self.embed_support(joined(levels.middle)), levels.deep, gram(levels.middle[0])

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, 2, H, W) at image size, of the size of probabilities."""
        scores: Tensor = self.ensemble(self.learned(episode), base_foreground(episode.query[3]))
        return resize(scores, episode.size, align_corners=True)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the ensemble's scores, and of the meta learner's logits.

        The base learner has seen the episode's class, so that this one is left out of what it knows.
        """
        labels = labels_of(episode)
        if episode.class_labels is None:
            raise ValueError("the loss needs the labels of all base classes")
        told = self.learned(episode)
        known = base_foreground(episode.query[3], own_class(labels, episode.class_labels.query))
        return {
            "query": segmentation_loss(self.ensemble(told, known), labels, align_corners=True),
            "meta": segmentation_loss(told.logits, labels, align_corners=True),
        }

    def remarks(self, way: int, shot: int) -> tuple[str, ...]:
        """Where shots are not weighed as published."""
        learned = self.switches.shots
        if shot in {1, learned}:
            return ()
        return (
            f"the {shot} supports weigh alike, since shots={learned}: weights are learned for one number of supports "
            f"(--set shots={shot}, in training and in the evaluation)",
        )

    def learned(self, episode: Episode) -> Meta:
        """What the meta learner says."""
        support, deep, grams = (level[:, 0] for level in episode.support)
        query, query_deep, query_gram = episode.query[:3]
        weights = cell_weights(episode.support_masks[:, 0], support)
        told: Meta = self.meta(
            query,
            support_vectors(support, weights),
            prior_masks(query_deep, deep, weights),
            scene_differences(query_gram, grams),
        )
        return told

    @classmethod
    def stages_before(cls, protocol: Protocol, shot: int) -> tuple[Stage, ...]:
        """The base learner's training."""
        if protocol.synthetic:
            why = {"bn": "ours: from scratch, statistics are learned here and fixed afterwards"}
            return (Stage("base", PSPNet, changed(light_recipe(), why, bn="train")),)
        coco = protocol.trains_like_coco
        recipe = from_code(
            {
                "iterations": f"{CODE}: {_BASE_LIST[coco]}",
                "lr": f"{CODE}: one rate for all" if coco else f"{CODE}: of the encoder",
                "augment": "ours: the authors scale by 0.5 to 2, rotate, blur, flip and crop",
            },
            iterations=136_802 if coco else 49_608,
            batch=12,
            lr=2.5e-3 if coco else 2.5e-4,
            head_lr_factor=1.0 if coco else 10.0,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="poly",
            freeze="none",
            bn="train",
            augment="enlarged-crop",
        )
        return (Stage("base", PSPNet, recipe),)

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' meta training; for each number of shots one of its own."""
        if protocol.synthetic:
            why = {"freeze": "ours: as the authors, what the base learner learned stays"}
            return changed(light_recipe(), why, freeze="all")
        coco = protocol.trains_like_coco
        return from_code(
            {
                "iterations": f"{CODE}: {_LIST[coco]}, at most: it stops after 75 epochs without gain",
                "lr": f"{CODE}: option 5e-3, which runs at ten times that",
                "augment": "ours: the authors scale, rotate, blur, flip and crop",
                "train_shots": f"{CODE}: as in the evaluation",
            },
            iterations=513_006 if coco else 148_825,
            batch=8,
            lr=0.05,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="poly",
            freeze="all",
            bn="eval",
            augment="enlarged-crop",
        )
