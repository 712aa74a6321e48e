"""PPNet with unlabelled images: part prototypes renewed from further images of the episode's own classes.

Title: Part-aware Prototype Network for Few-shot Semantic Segmentation
Authors: Yongfei Liu et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: unlabelled images of the episode's classes, in training and at test
Distinctive: sees extra images of the episode's class, at test too: weak supervision that other methods do not get.
Differences: the graph keeps its random start, as in the authors' code (graph_trainable=true trains it, as written).
Differences: the alignment loss of a way is one mean over its supports, divided by K again (joint_align=false: ppnet's).
Differences: as many unlabelled images and groups at test as in training; the authors' test script has 4 and 3.
Differences: superpixels are SLIC's with skimage; the authors' are precomputed files.
Differences: void pixels of supports are left out; the authors' code pools them into the background (void_in_bg=true).
Differences: the k-means starts are drawn from the episode's seed; the authors' are not seeded at all.
Differences: novel classes in base-class labels are as the protocol says; the authors': void in the query alone.
Differences: the semantic branch is stepped once an iteration; the authors' optimiser lists its tensors twice.
Differences: the last checkpoint; the authors chose theirs on episodes of the test classes.
Differences: the protocol's training lists and episodes; the authors' PASCAL runs test on images that training saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fsseg_bench.method import Episode, Features, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.host import sent
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods._ppnet.method import Parts, _PartMethod
from fsseg_methods._ppnet.unlabelled import LatentGraph, gathered, like_prototypes, slic_labels, superpixel_means
from fsseg_methods._shared import Count, alignment_labels


class PPNetUD(_PartMethod):
    """PPNet whose parts attend to the superpixels of unlabelled images of the episode's classes."""

    @dataclass(frozen=True)
    class Switches(_PartMethod.Switches):
        """Those of ppnet, and of the graph."""

        assignments: Count = 20
        part_weight: float = 0.8
        unlabelled: Count = 6
        """Images of each way's class; those of all ways serve every class."""
        segments: Count = 100
        """Superpixels an image (about), by SLIC."""
        top: Count = 30
        """An image's superpixels that a class keeps at most (the authors' 5-shot setting: 5)."""
        threshold: float = 0.5
        """Cosine to the class's whole prototype that a superpixel must exceed (5-shot: 0.9)."""
        group: Count = 2
        """Unlabelled images that are attended to together (5-shot: 6)."""
        running_mean: float = 0.8
        """Share of the parts that stays after each group (5-shot: 0.9)."""
        graph_trainable: bool = False
        """Whether the graph's layers learn; the authors' are in no optimiser group."""
        joint_align: bool = True
        """Whether the alignment loss of a way is the authors' of this variant: one mean over all its supports, over
        N K."""
        width: Count = 512
        """Of the graph's embeddings, not above the backbone's channels."""

    switches: Switches

    def __init__(self, backbone: Backbone, base_classes: int, switches: Switches) -> None:
        super().__init__(backbone, base_classes, switches)
        self.graph = LatentGraph(backbone.out_channels, min(switches.width, backbone.out_channels))
        self.graph.requires_grad_(switches.graph_trainable)

    @property
    def unlabelled_images(self) -> int:
        """Images of each way's class besides the episode's."""
        return self.switches.unlabelled

    @torch.no_grad()
    def encode_unlabelled(self, images: Tensor) -> Features:
        """Mean features (M, S, C) of each image's superpixels, and (M, S) of 1 where there is one; no gradient."""
        features = feature_map(self.encode(images))
        mean, std = (
            sent(torch.tensor(values, dtype=images.dtype), images.device)[:, None, None]
            for values in (self.backbone.mean, self.backbone.std)
        )
        labels = slic_labels((images * std + mean).clamp(0, 1), self.switches.segments)
        return tuple(superpixel_means(features, labels, places=2 * self.switches.segments))

    def query_parts(self, episode: Episode, parts: Parts) -> Tensor:
        """The supports' parts, renewed group by group: (B, N+1, P, C)."""
        nodes, kept = self.nodes(episode, parts.whole)
        renewed: Tensor = self.graph(
            parts.prototypes, nodes, kept, group=self.switches.group, momentum=self.switches.running_mean
        )
        return renewed

    def nodes(self, episode: Episode, whole: Tensor) -> tuple[Tensor, Tensor]:
        """The superpixels of all unlabelled images that are like each class's whole prototype (B, N+1, C).

        Features (B, N+1, V, T, C), and (B, N+1, V, T) bool: whether the place holds one.
        """
        if not isinstance(episode.unlabelled, tuple):
            raise ValueError("the episode has no unlabelled images")
        features, valid = (level.flatten(1, 2) for level in episode.unlabelled)
        kept = like_prototypes(
            features, valid, whole.detach(), top=self.switches.top, threshold=self.switches.threshold
        )
        return gathered(features, kept.places), kept.mask

    def alignment(self, episode: Episode, scores: Tensor, present: Tensor) -> Tensor:
        """(B,): see :class:`PPNetUD` for ``joint_align``."""
        if not self.switches.joint_align:
            return super().alignment(episode, scores, present)
        return joint_alignment(scores, alignment_labels(episode.support_masks, self.switches.void_in_bg), present)


def joint_alignment(scores: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Alignment losses (B,): of a way one mean cross-entropy over all its supports, summed over ways / (N K).

    Scores, labels and ``present`` are those of :func:`fsseg_methods._shared.alignment_losses`.
    """
    B, N, K = labels.shape[:3]
    ways = [
        segmentation_loss(logits, target, align_corners=True)
        for logits, target in zip(scores.flatten(0, 1), labels.flatten(0, 1), strict=True)
    ]
    return (torch.stack(ways).view(B, N) * present[:, 1:]).sum(dim=1) / (N * K)
