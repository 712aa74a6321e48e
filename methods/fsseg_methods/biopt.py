"""BiOpt: a learned start from support and query prototypes, then an inner loop on the query (bilevel optimisation).

Title: BiOpt: Bi-Level Optimization for Few-Shot Segmentation
Venue: arXiv
Year: 2020
Fidelity: paper only
Transductive: own query
Test-time training: prototypes, {steps} gradient steps on the query's own predictions
Extra data: none
Distinctive: prototypes start from a gated mean of support and query, then follow T gradient steps on the query itself.
Differences: the inner loss is a mean over cells, for prototypes of norm 1; the paper's sum on raw ones overshoots here.
Differences: the paper's reading is inner_reduction=sum with proto_unit_norm=false.
Differences: Eqs. 3, 4 and 6 are read with similarity (not distance) and the factor 20 throughout.
Differences: Eq. 8 takes soft predictions from the support and start prototypes; its hard masks have no gradient.
Differences: inner gradients are constants in training (first order); the paper does not say (inner_grad).
Differences: which layers are trained and how batch-norm behaves is not stated: all, and fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Prediction, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import assigned, cosine_scores, masked_average, unit_cells
from fsseg_methods._inner import LoopSwitches, adapt
from fsseg_methods._shared import _PrototypeMethod, labels_of


class Stages(NamedTuple):
    """Logits (B, N+1, h, w) from the support prototypes and the start, and the final prediction."""

    support: Tensor
    start: Tensor
    final: Prediction


class BiOpt(_PrototypeMethod):
    """Bilevel optimisation: support prototypes, a gated start (Eq. 5), T inner steps (Eq. 7), three losses (Eq. 8)."""

    @dataclass(frozen=True)
    class Switches(LoopSwitches):
        """Of the prototypes, the scores and the inner loop."""

        soft_mask: bool = False
        """Whether the query's prototypes weigh all cells by their probabilities instead of averaging the cells
        predicted as the class."""

    switches: Switches

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        channels = backbone.out_channels
        self.gate = nn.Linear(2 * channels, channels)

    def predict(self, episode: Episode) -> Prediction:
        """Scores (B, N+1, h, w) of the last prototypes, and the inner loop's figures."""
        return self.stages(episode).final

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy from the support prototypes, from the start and from the last prototypes (Eq. 8)."""
        labels = labels_of(episode)
        stages = self.stages(episode)
        logits = {"support": stages.support, "start": stages.start, "final": stages.final.logits}
        return {name: segmentation_loss(value, labels, self.switches.align_corners) for name, value in logits.items()}

    def stages(self, episode: Episode) -> Stages:
        """The three predictions that the loss looks at."""
        features = feature_map(episode.query)
        query = unit_cells(features)
        supports = self.prototypes(episode)
        first = cosine_scores(query.cells, supports, alpha=self.switches.alpha)
        predicted = predicted_prototypes(features, first, supports, soft=self.switches.soft_mask)
        start = fuse(predicted, supports, gate=self.gate)
        second = cosine_scores(query.cells, start, alpha=self.switches.alpha)
        return Stages(first, second, adapt(episode, query, start, self.switches))


# One episode at a time on a CPU: sums over cells, and the gate's product, round differently in another batch.
@itemwise
def predicted_prototypes(features: Tensor, scores: Tensor, supports: Tensor, *, soft: bool) -> Tensor:
    """P': the mean of the query's features over the cells predicted as each class.

    Args:
        features: (B, C, h, w), not normalised.
        scores: (B, N+1, h, w).
        supports: (B, N+1, C), taken for classes that no cell is predicted as.
        soft: weigh all cells by softmax(scores) instead.

    Returns:
        (B, N+1, C).
    """
    weights = scores.softmax(dim=1) if soft else assigned(scores)
    means = masked_average(features, weights)
    seen = weights.sum(dim=(2, 3)) > 0
    return torch.where(seen[:, :, None], means, supports)


@itemwise
def fuse(predicted: Tensor, supports: Tensor, *, gate: nn.Linear) -> Tensor:
    """P_q^0 = w * P_s + (1 - w) * P', w = sigmoid(gate([P'; P_s])), one gate for all classes (Eq. 5).

    ``predicted`` P', ``supports`` P_s and the result are (B, N+1, C); the gate is a linear layer, 2C to C.
    """
    weights = torch.sigmoid(gate(torch.cat((predicted, supports), dim=2)))
    return weights * supports + (1 - weights) * predicted
