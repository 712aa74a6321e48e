"""InOpt†: support prototypes fitted to the query's own prediction by a few gradient steps.

Title: BiOpt: Bi-Level Optimization for Few-Shot Segmentation (a row of its ablation)
Venue: arXiv
Year: 2020
Fidelity: paper only
Untrained: works
Transductive: own query
Test-time training: prototypes, {steps} gradient steps on the query's own predictions
Extra data: none
Distinctive: gradient descent on the prototypes at test time, on the query's own predicted labels, in closed form.
Differences: the inner loss is a mean over cells, for prototypes of norm 1; the paper's sum on raw ones overshoots here.
Differences: the paper's reading is inner_reduction=sum with proto_unit_norm=false.
Differences: the loss from the start prototypes would repeat the one from the support prototypes (dup_loss).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fsseg_bench.method import Episode, Prediction, feature_map
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, unit_cells
from fsseg_methods._inner import LoopSwitches, adapt
from fsseg_methods._shared import _PrototypeMethod, labels_of


class InOptDagger(_PrototypeMethod):
    """The inner loop from the support prototypes, without BiOpt's fused start."""

    @dataclass(frozen=True)
    class Switches(LoopSwitches):
        """Of the prototypes, the scores and the inner loop."""

        dup_loss: bool = False
        """Whether the loss from the start prototypes, equal to the one from the supports, is added."""

    switches: Switches

    def predict(self, episode: Episode) -> Prediction:
        """Scores (B, N+1, h, w) of the last prototypes, and the inner loop's figures."""
        query = unit_cells(feature_map(episode.query))
        return adapt(episode, query, self.prototypes(episode), self.switches)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy from the support prototypes and from the last ones."""
        labels = labels_of(episode)
        query = unit_cells(feature_map(episode.query))
        start = self.prototypes(episode)
        scores = cosine_scores(query.cells, start, alpha=self.switches.alpha)
        final = adapt(episode, query, start, self.switches)
        losses = {"support": segmentation_loss(scores, labels, self.switches.align_corners)}
        if self.switches.dup_loss:
            losses["start"] = losses["support"]
        losses["final"] = segmentation_loss(final.logits, labels, self.switches.align_corners)
        return losses
