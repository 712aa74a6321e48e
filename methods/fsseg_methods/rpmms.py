"""RPMMs: prototype mixtures of one, three and six components in turn, each refining the prediction before.

Title: Prototype Mixture Models for Few-shot Semantic Segmentation
Authors: Boyu Yang et al.
Venue: ECCV
Year: 2020
Fidelity: parity
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

import torch
from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods._pmms.method import _MixtureMethod
from fsseg_methods._prototype import labels_of

_DIVISOR = 5
"""Of the sum of the stages' softmaxes in the authors' code, whatever the numbers of shots and stages."""


class RPMMs(_MixtureMethod):
    """A stage for each number of components, all with the same weights. K shots make one mixture a stage.

    Switches:
        stages: the numbers of components, in turn.
        five_shot_ensemble: whether several shots give the sum of the stages' softmaxes over 5 instead of logits.
        support_grad: whether gradient reaches the supports, through the last maximisation step.
        kappa: factor of the inner products in expectation-maximisation.
        em_iterations: its iterations.
        void_in_bg: whether void pixels of supports count as background, as in the authors' code.
        dropout: share of the channels that training drops, before and after the refinement.
        separate_passes: whether training normalises supports and queries apart, as in the authors' code.
        width: channels of the head, at most those of the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        stages: tuple[int, ...] = (1, 3, 6),
        five_shot_ensemble: bool = True,
        support_grad: bool = False,
        kappa: float = 20.0,
        em_iterations: int = 10,
        void_in_bg: bool = False,
        dropout: float = 0.5,
        separate_passes: bool = True,
        width: int = 256,
    ) -> None:
        super().__init__(
            backbone,
            components=stages,
            map_into="activation",
            support_grad=support_grad,
            kappa=kappa,
            em_iterations=em_iterations,
            void_in_bg=void_in_bg,
            dropout=dropout,
            separate_passes=separate_passes,
            width=width,
        )
        self.five_shot_ensemble = five_shot_ensemble

    def predict(self, episode: Episode) -> Tensor:
        """(B, 2, h, w): the last stage's logits, or with several shots the stages' summed softmaxes over 5."""
        every = self.stage_logits(episode)
        if episode.shots == 1 or not self.five_shot_ensemble:
            return every[-1]
        return torch.stack([logits.softmax(dim=1) for logits in every]).sum(dim=0) / _DIVISOR

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query at every stage."""
        labels = labels_of(episode)
        return {f"stage{i}": segmentation_loss(x, labels) for i, x in enumerate(self.stage_logits(episode), 1)}
