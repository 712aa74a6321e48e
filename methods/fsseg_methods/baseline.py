"""Baseline: masked average prototypes and cosine scores, the head that BiOpt starts from.

Title: (own design: PANet without its alignment loss)
Authors: (row "baseline" of the BiOpt paper's ablation)
Fidelity: paper only
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: nothing but prototypes: one vector a class, the background included.
Differences: the paper does not say how the mask meets the features; here as if the features were upsampled (map_res).
Differences: void pixels of supports belong to neither mask; PANet pools them into the background (void_in_bg).
"""

from __future__ import annotations

from torch import Tensor

from fsseg_bench.method import Episode, Features, LabelsEverything, feature_map
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, masked_average, unit_cells
from fsseg_methods._shared import _PrototypeMethod, labels_of


class Baseline(_PrototypeMethod, LabelsEverything):
    """Scores alpha * cos(query cell, prototype)."""

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, N+1, h, w)."""
        return self.scores(episode)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode), self.switches.align_corners)}

    def class_vectors(self, features: Features, masks: Tensor) -> Tensor:
        """Masked averages (M, G, D)."""
        own = self.switches
        return masked_average(feature_map(features), masks, map_res=own.map_res, align_corners=own.align_corners)

    def vector_scores(self, features: Features, vectors: Tensor) -> Tensor:
        """Scores (M, G, h, w): alpha * cos(cell, vector)."""
        cells = unit_cells(feature_map(features)).cells
        return cosine_scores(cells, vectors.expand(len(cells), -1, -1), alpha=self.switches.alpha)
