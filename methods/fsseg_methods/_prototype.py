"""What the prototype methods share: support prototypes and their switches."""

from __future__ import annotations

from torch import Tensor

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.pooling import MapRes
from fsseg_bench.nn.prototypes import support_prototypes


class _PrototypeMethod(Method):
    """Masked average prototypes of the supports, background first."""

    def __init__(
        self, backbone: Backbone, *, map_res: MapRes, align_corners: bool, void_in_bg: bool, alpha: float
    ) -> None:
        super().__init__(backbone)
        self.map_res: MapRes = map_res
        self.align_corners = align_corners
        self.void_in_bg = void_in_bg
        self.alpha = alpha

    def prototypes(self, episode: Episode) -> Tensor:
        """(B, N+1, C): the background (mean over all supports), then each way (mean over its shots)."""
        return support_prototypes(
            feature_map(episode.support),
            episode.support_masks,
            map_res=self.map_res,
            align_corners=self.align_corners,
            void_in_bg=self.void_in_bg,
        )


def labels_of(episode: Episode) -> Tensor:
    """The query labels (B, H, W) of a training episode.

    Raises:
        ValueError: an evaluation episode, which has none.
    """
    if episode.query_labels is None:
        raise ValueError("the loss needs query labels; an evaluation episode has none")
    return episode.query_labels
