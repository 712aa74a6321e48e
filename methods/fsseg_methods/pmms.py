"""PMMs: the class as a mixture of three prototypes, which activate the query and vote on each cell.

Title: Prototype Mixture Models for Few-shot Semantic Segmentation
Authors: Boyu Yang et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Distinctive: foreground and background are mixtures fitted by EM; the mixtures' vote is the decoder's first guess.
Differences: EM starts are drawn from each episode's seed; the authors' code draws them once a process.
Differences: void pixels of supports are left out; in the authors' code they are background (void_in_bg=true).
Differences: the protocol's training lists, image size and last checkpoint; the authors pick the best on test classes.
Differences: no gradient reaches the supports in the authors' code, nor here (support_grad=true: the last EM step's).
Differences: training normalises supports and queries apart, as in the authors' code (separate_passes=false).
Differences: new layers start from PyTorch's default initialisation.
"""

from __future__ import annotations

from torch import Tensor

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods._pmms.method import _MixtureMethod
from fsseg_methods._prototype import labels_of


class PMMs(_MixtureMethod):
    """One stage; the probability map takes the place of an earlier prediction. K shots make one mixture.

    Switches:
        components: prototypes of the class, and as many of the background.
        support_grad: whether gradient reaches the supports, through the last maximisation step.
        kappa: factor of the inner products in expectation-maximisation.
        em_iterations: its iterations.
        void_in_bg: whether void pixels of supports count as background, as in the authors' code.
        dropout: share of the channels that training drops, in the pyramid's branches.
        separate_passes: whether training normalises supports and queries apart, as in the authors' code.
        width: channels of the head, at most those of the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        components: int = 3,
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
            components=(components,),
            map_into="history",
            support_grad=support_grad,
            kappa=kappa,
            em_iterations=em_iterations,
            void_in_bg=void_in_bg,
            dropout=dropout,
            separate_passes=separate_passes,
            width=width,
        )

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, h, w)."""
        return self.stage_logits(episode)[-1]

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of the query."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode))}
