"""What the prototype methods share: support prototypes and their switches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.pooling import MapRes
from fsseg_bench.nn.prototypes import support_prototypes


class _PrototypeMethod(Method):
    """Masked average prototypes of the supports, background first."""

    @dataclass(frozen=True)
    class Switches:
        """Of the prototypes, and of the scores."""

        map_res: MapRes = "adjoint"
        """How masks meet features: as if features were upsampled (`adjoint`), or at the features' cells."""
        align_corners: bool = False
        """Whether bilinear resizing aligns the centres of the corner pixels."""
        void_in_bg: bool = False
        """Whether void pixels of supports count as background (1-way only), as in PANet's code."""
        alpha: float = 20.0
        """Factor of the cosines."""

    switches: Switches

    def prototypes(self, episode: Episode) -> Tensor:
        """(B, N+1, C): the background (mean over all supports), then each way (mean over its shots)."""
        return support_prototypes(
            feature_map(episode.support),
            episode.support_masks,
            map_res=self.switches.map_res,
            align_corners=self.switches.align_corners,
            void_in_bg=self.switches.void_in_bg,
        )


def labels_of(episode: Episode) -> Tensor:
    """The query labels (B, H, W) of a training episode.

    Raises:
        ValueError: an evaluation episode, which has none.
    """
    if episode.query_labels is None:
        raise ValueError("the loss needs query labels; an evaluation episode has none")
    return episode.query_labels
