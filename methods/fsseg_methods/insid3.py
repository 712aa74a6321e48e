"""INSID3: the query's own clusters, chosen by matches in features that have lost their sense of place.

Title: INSID3: Training-Free In-Context Segmentation with DINOv3
Authors: Claudia Cuttano et al.
Venue: CVPR
Year: 2026
Fidelity: parity
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: nothing is trained; directions in which the tokens of an empty image differ are taken out of all others.
Differences: no dense CRF on the mask; the paper's numbers have one, the authors' script leaves it out by default.
Differences: the empty image is encoded in evaluation mode; the authors' positional encoding is random there.
Differences: void cells of supports are compared with nothing; the authors' code has no void (void_in_bg=true).
Differences: the same share of directions where channels or cells are fewer; the authors' 500 would remove everything.
Differences: several ways, of which a cell goes to the one with the highest score; the authors' code is for one.
Differences: supports with an empty mask are left out; the authors' code fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Prediction, TrainingFree, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.host import may_look, sent
from fsseg_bench.schema import Range
from fsseg_methods._clusters import average_linkage, cosine_distances
from fsseg_methods._insid3 import Candidates, ClusterScores, find_candidates, score_clusters, support_shot
from fsseg_methods._positional import Basis, Positions, unit_cells, without_place


class INSID3(TrainingFree):
    """Clusters of the query that are like the supports' object, at the backbone's cells.

    The similarities of one support's cells to the query's are in memory at once, and the distances of the query's cells
    to each other, 8 bytes a pair: 64 and 128 MiB for 64 x 64 cells. Clustering is done on the host, a fifth of a second
    for so many.
    """

    @dataclass(frozen=True)
    class Switches:
        """Of the features, of the clusters, and of what is kept."""

        directions: Annotated[int, Range(least=0)] | None = None
        """Positional directions that are removed: 500 in the authors' code. Nothing: 500 of 1,024 of those that there
        are, the smaller of channels and cells less one; that share is ours where there are fewer than 1,024."""
        tau: Annotated[float, Range(least=-1, most=1)] = 0.6
        """Mean similarity above which clusters of the query merge; higher, finer."""
        threshold: Annotated[float, Range(least=0, below=1)] = 0.2
        """Score above which a cluster is kept."""
        void_in_bg: bool = False
        """Whether void cells of supports, and those of other ways, are compared with the query's as background is."""
        soft: bool = False
        """Whether logits are the scores less the threshold, so that probabilities grade; the same cells are kept."""

    switches: Switches

    default_backbone: ClassVar[str] = "timm:vit_large_patch16_dinov3.lvd1689m"

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        if switches.directions and switches.directions >= backbone.out_channels:
            raise UserError(
                f"directions={switches.directions} would remove everything: {backbone.name} has "
                f"{backbone.out_channels} channels; set directions below that, or leave it out"
            )
        self._positions = Positions()

    def encode(self, images: Tensor) -> Tensor:
        """The last stage's cells (M, C, h, w), each of unit length."""
        cells: Tensor = self.backbone(images)
        return unit_cells(cells).to(cells.dtype)

    def predict(self, episode: Episode) -> Prediction:
        """1 at the cells of the kept clusters, 0 elsewhere, and the reverse for background: (B, N+1, h, w)."""
        device = episode.support_masks.device
        masks = episode.support_masks
        with torch.autocast(device.type, enabled=False):
            query, support = feature_map(episode.query).float(), feature_map(episode.support).float()
            there = self._basis((masks.shape[-2], masks.shape[-1]))
            here = self._basis(episode.size)
            found = [self.segment(query[b], here, support[b], there, masks[b]) for b in range(episode.batch)]
            logits = torch.stack([self._logits(one).unflatten(1, query.shape[-2:]) for one in found])
        diagnostics = {name: torch.stack([value[name] for value in map(_noted, found)]) for name in _noted(found[0])}
        if episode.ways == 1:
            diagnostics = {name: value.squeeze(1) for name, value in diagnostics.items()}
        facts = {"directions": here.directions.shape[1], "place_share": here.share, "place_gap": here.gap}
        diagnostics |= {name: torch.full((episode.batch,), float(fact), device=device) for name, fact in facts.items()}
        return Prediction(logits, diagnostics)

    def segment(self, query: Tensor, here: Basis, support: Tensor, there: Basis, masks: Tensor) -> Segmented:
        """One query.

        Args:
            query: (C, h, w) f.
            here: the positional directions of the query's grid.
            support: (N, K, C, h', w') f.
            there: those of the supports' grid.
            masks: (N, K, H, W) uint8.
        """
        grid = (support.shape[-2], support.shape[-1])
        cells = query.flatten(1)
        debiased = without_place(cells, here)
        candidates = []
        for way, way_masks in zip(support, masks, strict=True):
            shots = [
                support_shot(without_place(shot.flatten(1), there), mask, grid, self.switches.void_in_bg)
                for shot, mask in zip(way, way_masks, strict=True)
            ]
            candidates.append(find_candidates(debiased, shots))
        any_candidate = torch.stack([one.chosen for one in candidates]).any()
        if may_look(any_candidate) and not any_candidate:  # nothing will be kept, whatever the clusters
            labels, count = cells.new_zeros(cells.shape[1], dtype=torch.int64), 1
        else:
            labels, count = clusters_of(cells, 1 - self.switches.tau)
        scores = [score_clusters(cells, debiased, labels, count, one) for one in candidates]
        by_way = torch.stack([one.score for one in scores])
        ways = torch.arange(len(scores), device=by_way.device)
        kept = (by_way > self.switches.threshold) & (by_way.argmax(dim=0) == ways[:, None])
        return Segmented(candidates, labels, count, scores, kept)

    def _basis(self, size: tuple[int, int]) -> Basis:
        return self._positions.of(self.backbone, size, self.switches.directions)

    def _logits(self, found: Segmented) -> Tensor:
        """(N+1, cells)."""
        if self.switches.soft:
            scores = torch.stack([one.score for one in found.scores])[:, found.labels] - self.switches.threshold
            return torch.cat([torch.zeros_like(scores[:1]), scores])
        cells = found.kept[:, found.labels]
        return torch.cat([~cells.any(dim=0, keepdim=True), cells]).float()


class Segmented(NamedTuple):
    """A query of N cells, G clusters and some ways."""

    candidates: list[Candidates]
    """By way."""
    labels: Tensor
    """(N,) int64: the cluster of each cell."""
    number: int
    """G."""
    scores: list[ClusterScores]
    """By way."""
    kept: Tensor
    """(ways, G) bool: the clusters that are the way's."""


def clusters_of(cells: Tensor, height: float) -> tuple[Tensor, int]:
    """Labels (N,) int64 of the clusters of cells (C, N) of unit length, and their number; found on the host."""
    found = average_linkage(cosine_distances(cells.cpu()), height)
    return sent(torch.from_numpy(found.labels), cells.device), found.number


def _noted(found: Segmented) -> dict[str, Tensor]:
    """By name, a number for each way."""
    chosen = torch.stack([one.chosen for one in found.candidates])
    there = chosen.any(dim=1)
    seeds = torch.stack([one.similarity.index_select(0, one.seed[None])[0] for one in found.scores])
    return {
        "candidates": chosen.sum(dim=1),
        "clusters": torch.where(there.any(), found.number, 0).expand(len(there)),
        "seed_similarity": torch.where(there, seeds, 0.0),
        "kept_clusters": found.kept.sum(dim=1),
        "empty": (~found.kept.any(dim=1)).float(),
    }
