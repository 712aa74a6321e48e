"""PPNet: each class as five part prototypes, on features that also tell the training classes apart.

Title: Part-aware Prototype Network for Few-shot Semantic Segmentation
Authors: Yongfei Liu et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Distinctive: k-means over the support's features gives part prototypes; a cell scores with the nearest part.
Differences: this is the inductive model (parts, semantic branch); ppnet-ud adds the graph over unlabelled images.
Differences: void pixels of supports are left out; the authors' code pools them into the background (void_in_bg=true).
Differences: the k-means starts are drawn from the episode's seed; the authors' are not seeded at all.
Differences: novel classes in base-class labels are as the protocol says; the authors': void in the query alone.
Differences: the semantic branch is stepped once an iteration; the authors' optimiser lists its tensors twice.
Differences: the last checkpoint; the authors chose theirs on episodes of the test classes.
Differences: the protocol's training lists and episodes; the authors' PASCAL runs test on images that training saw.
"""

from __future__ import annotations

from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._ppnet.method import _PartMethod, part_recipe


class PPNet(_PartMethod):
    """Scores alpha * max_j cos(query cell, part j), trained with the alignment and the semantic loss.

    Switches:
        parts: clusters of each class, background included.
        assignments: how often k-means assigns features to clusters.
        part_weight: lambda, the share of the whole prototype in each part; the authors' 0.5 goes with the semantic
            branch, 0.8 with parts alone.
        semantic_weight: weight of the semantic loss; 0 leaves the branch out (parts alone).
        align_weight: weight of the alignment loss; 0 leaves it out.
        void_in_bg: whether void pixels of supports count as background (1-way only), as in the authors' code.
        alpha: factor of the cosines.
    """

    def __init__(
        self,
        backbone: Backbone,
        base_classes: int,
        *,
        parts: int = 5,
        assignments: int = 10,
        part_weight: float = 0.5,
        semantic_weight: float = 0.1,
        align_weight: float = 1.0,
        void_in_bg: bool = False,
        alpha: float = 20.0,
    ) -> None:
        super().__init__(
            backbone,
            base_classes,
            parts=parts,
            assignments=assignments,
            part_weight=part_weight,
            semantic_weight=semantic_weight,
            align_weight=align_weight,
            void_in_bg=void_in_bg,
            alpha=alpha,
        )

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training, the same for both data sets and any number of shots."""
        return part_recipe(protocol)
