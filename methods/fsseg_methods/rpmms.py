"""RPMMs: prototype mixtures of one, three and six components in turn, each refining the prediction before.

Title: Prototype Mixture Models for Few-shot Semantic Segmentation
Authors: Boyu Yang et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: foreground and background are mixtures fitted by EM; three stages share weights and pass predictions on.
Differences: EM starts are drawn from each episode's seed; the authors' code draws anew at every forward pass.
Differences: void pixels of supports are left out; in the authors' code they are background (void_in_bg=true).
Differences: the protocol's training lists, image size and last checkpoint; the authors pick the best on test classes.
Differences: no gradient reaches the supports in the authors' code, nor here (support_grad=true: the last EM step's).
Differences: several shots average the stages' softmaxes, one shot does not, as in the code (five_shot_ensemble=false).
Differences: on VGG-16 the trunk of the authors' PMMs; the network behind the published row was not released.
Differences: training normalises supports and queries apart, as in the authors' code (separate_passes=false).
Differences: new layers start from PyTorch's default initialisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.schema import Must
from fsseg_methods._pmms.method import MapInto, _MixtureMethod
from fsseg_methods._shared import Count, labels_of

_DIVISOR = 5
"""Of the sum of the stages' softmaxes in the authors' code, whatever the numbers of shots and stages."""


class RPMMs(_MixtureMethod):
    """A stage for each number of components, all with the same weights. K shots make one mixture a stage."""

    @dataclass(frozen=True)
    class Switches(_MixtureMethod.Switches):
        """Of the stages, the head and its training."""

        stages: Annotated[tuple[Count, ...], Must("not empty", bool)] = (1, 3, 6)
        """The numbers of components, in turn."""
        five_shot_ensemble: bool = True
        """Whether several shots give the sum of the stages' softmaxes over 5 instead of logits."""

    switches: Switches
    map_into: ClassVar[MapInto] = "activation"

    @property
    def components(self) -> tuple[int, ...]:
        """One stage each."""
        return self.switches.stages

    def predict(self, episode: Episode) -> Tensor:
        """(B, 2, h, w): the last stage's logits, or with several shots the stages' summed softmaxes over 5."""
        stages = self.stage_logits(episode)
        if episode.shots == 1 or not self.switches.five_shot_ensemble:
            return stages[-1]
        return torch.stack([logits.softmax(dim=1) for logits in stages]).sum(dim=0) / _DIVISOR

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query at every stage."""
        labels = labels_of(episode)
        return {f"stage{i}": segmentation_loss(x, labels) for i, x in enumerate(self.stage_logits(episode), 1)}
