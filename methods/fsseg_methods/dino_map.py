"""DINO + MAP: cosine to the mean token under the mask, on frozen features of a transformer.

Title: (own design: masked average prototypes on tokens of DINOv2 or DINOv3)
Authors: (the plain baseline of several papers, each in a form of its own)
Fidelity: own design
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: nothing is trained: one prototype a class and one of the background, or a threshold in its place.
Differences: published forms differ in layer, norm, mask on the grid and background; docs/reference/methods.md has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, TrainingFree, feature_map
from fsseg_bench.nn.areas import cell_shares
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import cosine_scores, unit
from fsseg_bench.schema import Range
from fsseg_methods._positional import Positions, unit_cells, without_place


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
        threshold: Annotated[float, Range(least=-1, most=1)] | None = None
        """A cosine above which a cell is foreground, in place of the background's prototype. None is published: choose
        it on episodes of other folds, whose classes are base classes of the one that is tested."""
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

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (M, C, h, w) of unit length."""
        read = self.backbone.levels if self.switches.norm else self.backbone.levels_before_norm
        tokens = read(images, (self.stage,))[0]
        return unit_cells(tokens).to(tokens.dtype)

    def predict(self, episode: Episode) -> Tensor:
        """Scores (B, N+1, h, w); of a threshold the background's are alpha * threshold everywhere."""
        masks = episode.support_masks
        with torch.autocast(masks.device.type, enabled=False):
            support = self._without_place(feature_map(episode.support), (masks.shape[-2], masks.shape[-1]))
            query = self._without_place(feature_map(episode.query), episode.size)
            scores = cosine_scores(query, prototypes(support, masks), alpha=self.switches.alpha)
            if self.switches.threshold is None:
                return scores
            background = torch.full_like(scores[:, :1], self.switches.alpha * self.switches.threshold)
            return torch.cat([background, scores[:, 1:]], dim=1)

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
