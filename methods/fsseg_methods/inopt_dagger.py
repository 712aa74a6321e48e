"""InOpt†: support prototypes fitted to the query's own prediction by a few gradient steps.

Title: BiOpt: Bi-Level Optimization for Few-Shot Segmentation (a row of its ablation)
Venue: arXiv
Year: 2020
Fidelity: paper only
Distinctive: gradient descent on the prototypes at test time, on the query's own predicted labels, in closed form.
Differences: the inner loss is a mean over cells, for prototypes of norm 1; the paper's sum on raw ones overshoots here.
Differences: the paper's reading is inner_reduction=sum with proto_unit_norm=false.
Differences: the loss from the start prototypes would repeat the one from the support prototypes (dup_loss).
"""

from __future__ import annotations

from torch import Tensor

from fsseg_bench.method import Episode, Prediction, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.inner import InnerGrad, InnerOptions, InnerReduction, InnerRes
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.pooling import MapRes
from fsseg_bench.nn.prototypes import cosine_scores, unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_methods._inner import PIXEL_REF, adapt
from fsseg_methods._prototype import _PrototypeMethod, labels_of
from fsseg_methods._recipes import biopt_recipe


class InOptDagger(_PrototypeMethod):
    """The inner loop from the support prototypes, without BiOpt's fused start.

    Switches:
        steps: T, inner gradient steps.
        eta: inner step size.
        alpha_inner: factor of the cosines inside the inner loss.
        inner_reduction: ``mean`` over the cells, or ``sum`` as the paper prints.
        proto_unit_norm: whether prototypes have norm 1 before the first step; the paper does not scale them.
        inner_pixel_ref: with ``sum``: M_ref times the mean, so that the step is the same at every scale; 0 is the
            plain sum.
        inner_res: the inner loss on the feature cells or on the input's pixels.
        inner_grad: what the outer gradient sees: the inner steps as constants (``first``), all (``second``), or
            neither steps nor start (``leaf``).
        dup_loss: whether the loss from the start prototypes, equal to the one from the supports, is added.
        map_res: how masks meet features: ``adjoint`` (as if features were upsampled), ``nearest``, ``bilinear``.
        align_corners: of every bilinear resizing.
        void_in_bg: whether void pixels of supports count as background (1-way only).
        alpha: factor of the cosines outside the inner loss.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        steps: int = 10,
        eta: float = 0.1,
        alpha_inner: float = 20.0,
        inner_reduction: InnerReduction = "mean",
        proto_unit_norm: bool = True,
        inner_pixel_ref: float = PIXEL_REF,
        inner_res: InnerRes = "feature",
        inner_grad: InnerGrad = "first",
        dup_loss: bool = False,
        map_res: MapRes = "adjoint",
        align_corners: bool = False,
        void_in_bg: bool = False,
        alpha: float = 20.0,
    ) -> None:
        super().__init__(backbone, map_res=map_res, align_corners=align_corners, void_in_bg=void_in_bg, alpha=alpha)
        self.dup_loss = dup_loss
        self.options = InnerOptions(
            steps=steps,
            eta=eta,
            alpha=alpha_inner,
            reduction=inner_reduction,
            pixel_ref=inner_pixel_ref,
            unit_norm=proto_unit_norm,
            gradient=inner_grad,
            resolution=inner_res,
        )

    def predict(self, episode: Episode) -> Prediction:
        """Scores (B, N+1, h, w) of the last prototypes, and the inner loop's figures."""
        query = unit_cells(feature_map(episode.query))
        return adapt(episode, query, self.prototypes(episode), self.options, self.alpha, self.align_corners)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy from the support prototypes and from the last ones."""
        labels = labels_of(episode)
        query = unit_cells(feature_map(episode.query))
        start = self.prototypes(episode)
        scores = cosine_scores(query.cells, start, alpha=self.alpha)
        final = adapt(episode, query, start, self.options, self.alpha, self.align_corners)
        losses = {"support": segmentation_loss(scores, labels, self.align_corners)}
        if self.dup_loss:
            losses["start"] = losses["support"]
        losses["final"] = segmentation_loss(final.logits, labels, self.align_corners)
        return losses

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """BiOpt's."""
        return biopt_recipe(protocol, shot)
