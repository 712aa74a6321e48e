"""DINO + MAP: cosine to the mean token under the mask, on frozen features of a transformer.

Title: (own design: masked average prototypes on tokens of DINOv2 or DINOv3)
Authors: (the plain baseline of several papers, each in a form of its own)
Fidelity: own design
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: nothing is trained: one prototype a class and one of the background, or a threshold in its place.
Distinctive: threshold=base chooses the threshold on episodes of base classes, as a training by counting.
Differences: published forms differ in layer, norm, mask on the grid and background; docs/reference/methods.md has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Prediction, TrainingFree, feature_map
from fsseg_bench.nn.areas import cell_shares
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, unit
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._positional import Positions, unit_cells, without_place
from fsseg_methods._shared import labels_of
from fsseg_methods._threshold import ThresholdSearch


class DinoMap(TrainingFree):
    """Scores alpha * cos(token, prototype) at the backbone's cells."""

    @dataclass(frozen=True)
    class Switches:
        """Of the tokens, and of what a token must exceed."""

        layer: int = -1
        """Which stage of the backbone is read: from 0 on, or from the last one (-1) back. Of a transformer, a block."""
        norm: bool = True
        """Whether a transformer's final norm is put on the tokens, as Meta's code does for every block."""
        directions: Annotated[int, Range(least=0)] | None = 0
        """Positional directions that are removed from tokens, as `insid3` does: a number, or `none` for its share."""
        threshold: Annotated[float, Range(least=-1, most=1)] | Literal["base"] | None = None
        """A cosine above which a cell is foreground, in place of the background's prototype. None is published: `base`
        chooses it on episodes of base classes, of which there are as many as iterations."""
        alpha: float = 20.0
        """Factor of the cosines."""

    switches: Switches

    default_backbone: ClassVar[str] = "timm:vit_small_patch14_reg4_dinov2.lvd142m"

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        count = len(backbone.stages)
        if not -count <= switches.layer < count:
            raise UserError(
                f"layer={switches.layer}: {backbone.name} has {count} stages, 0 to {count - 1} or -1 to -{count}"
            )
        self.stage = backbone.stages[switches.layer]
        if switches.directions != 0 and (self.stage != backbone.stages[-1] or not switches.norm):
            raise UserError(
                "directions are those of the last stage with its norm: leave layer and norm out, or set directions=0 "
                "(a backbone cut earlier, --backbone NAME-STAGE, has another last stage)"
            )
        self._positions = Positions()
        self.found = ThresholdSearch() if switches.threshold == "base" else None

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (M, C, h, w) of unit length."""
        read = self.backbone.levels if self.switches.norm else self.backbone.levels_before_norm
        tokens = read(images, (self.stage,))[0]
        return unit_cells(tokens).to(tokens.dtype)

    @property
    def learns_by_counting(self) -> bool:
        """Whether the threshold is chosen on episodes of base classes."""
        return self.found is not None

    @classmethod
    def recipe_with(cls, protocol: Protocol, shot: int, switches: Mapping[str, Any]) -> Recipe:
        """No iterations, or with ``threshold=base`` an episode each."""
        if switches["threshold"] != "base":
            return cls.recipe(protocol, shot)
        ours = "ours: episodes of base classes for the threshold"
        return Recipe(iterations=200, batch=1, lr=1e-3, freeze="all", augment="none", sources={"iterations": ours})

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Counts the episode with every threshold; the query's cross-entropy with the best one so far.

        Raises:
            NotImplementedError: no threshold is to be chosen.
        """
        if self.found is None:
            return super().loss(episode)
        labels = labels_of(episode)
        cosines = self._scores(episode)[:, 1:] / self.switches.alpha
        self.found.count(resize(cosines, episode.size), labels, episode.classes)
        return {"query": segmentation_loss(self._thresholded(cosines * self.switches.alpha), labels)}

    def predict(self, episode: Episode) -> Tensor | Prediction:
        """Scores (B, N+1, h, w); of a threshold the background's are alpha * threshold everywhere.

        A threshold that was chosen on base classes is among the diagnostics, with its mean-IoU there (NaN before).
        """
        scores = self._scores(episode)
        if self.switches.threshold is None:
            return scores
        logits = self._thresholded(scores[:, 1:])
        if self.found is None:
            return logits
        of_all = {"threshold": self.found.threshold, "base_mean_iou": self.found.mean_iou}
        return Prediction(logits, {name: value.expand(episode.batch) for name, value in of_all.items()})

    def _thresholded(self, scores: Tensor) -> Tensor:
        """Ways' scores (B, N, h, w) behind the background's (B, N+1, h, w)."""
        background = torch.full_like(scores[:, :1], self.switches.alpha)
        if self.found is not None:
            return torch.cat([background * self.found.threshold.to(scores.dtype), scores], dim=1)
        assert isinstance(self.switches.threshold, int | float)
        return torch.cat([background * self.switches.threshold, scores], dim=1)

    def _scores(self, episode: Episode) -> Tensor:
        """alpha * cosine to the background's prototype and to each way's: (B, N+1, h, w)."""
        masks = episode.support_masks
        with torch.autocast(masks.device.type, enabled=False):
            support = self._without_place(feature_map(episode.support), (masks.shape[-2], masks.shape[-1]))
            query = self._without_place(feature_map(episode.query), episode.size)
            return cosine_scores(query, prototypes(support, masks), alpha=self.switches.alpha)

    def _without_place(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (..., C, h, w) of images of ``size`` without positional directions, of unit length, float32."""
        if self.switches.directions == 0:
            return tokens.float()
        basis = self._positions.of(self.backbone, size, self.switches.directions)
        images = tokens.float().flatten(0, -4)
        return torch.stack([without_place(one.flatten(1), basis) for one in images]).view(tokens.shape)


@itemwise
def prototypes(tokens: Tensor, masks: Tensor) -> Tensor:
    """Background and ways: normalise(sum w t / sum w) over all cells of a way's K supports; background over all N K.

    w is the share of a cell that the class covers; void and other ways' pixels belong to neither.

    Args:
        tokens: (B, N, K, C, h, w) of unit length.
        masks: (B, N, K, H, W) uint8.

    Returns:
        (B, N+1, C) of unit length; zero vectors where no pixel is of the class.
    """
    grid = (tokens.shape[-2], tokens.shape[-1])
    shares = [cell_shares((masks == value).to(tokens.dtype), grid) for value in (0, 1)]
    sums = [torch.einsum("bnkchw,bnkhw->bnc", tokens, share) for share in shares]
    return unit(torch.cat([sums[0].sum(dim=1, keepdim=True), sums[1]], dim=1), dim=2)
