"""PMMs: the class as a mixture of three prototypes, which activate the query and vote on each cell.

Title: Prototype Mixture Models for Few-shot Semantic Segmentation
Authors: Boyu Yang et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: foreground and background are mixtures fitted by EM; the mixtures' vote is the decoder's first guess.
Differences: EM starts are drawn from each episode's seed; the authors' code draws them once a process.
Differences: void pixels of supports are left out; in the authors' code they are background (void_in_bg=true).
Differences: the protocol's training lists, image size and last checkpoint; the authors pick the best on test classes.
Differences: no gradient reaches the supports in the authors' code, nor here (support_grad=true: the last EM step's).
Differences: training normalises supports and queries apart, as in the authors' code (separate_passes=false).
Differences: new layers start from PyTorch's default initialisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods._pmms.method import MapInto, _MixtureMethod
from fsseg_methods._shared import Count, labels_of


class PMMs(_MixtureMethod):
    """One stage; the probability map takes the place of an earlier prediction. K shots make one mixture."""

    @dataclass(frozen=True)
    class Switches(_MixtureMethod.Switches):
        """Of the mixture, the head and its training."""

        components: Count = 3
        """Prototypes of the class, and as many of the background."""

    switches: Switches
    map_into: ClassVar[MapInto] = "history"

    @property
    def components(self) -> tuple[int, ...]:
        """One stage."""
        return (self.switches.components,)

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, h, w)."""
        return self.stage_logits(episode)[-1]

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode))}
