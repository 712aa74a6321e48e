"""BiOpt's inner loop: gradient descent on prototypes, with the gradient in closed form (BiOpt, Eq. 7).

The inner loss is the cross-entropy between softmax_c(alpha cos(q_x, P_c)) and fixed labels y_x of the query's own
cells x. With unit cells q_x and p_c = P_c / |P_c|, pi = softmax_c(alpha q_x . p_c) and
r_xc = kappa (pi_xc - [y_x = c]), its gradient is

    v_c = alpha sum_x r_xc q_x,      dL/dP_c = (v_c - (v_c . p_c) p_c) / |P_c|.

For two classes one product each way is enough: d = alpha q . (p_1 - p_0), g = kappa (sigmoid(d) - y),
v_1 = -v_0 = alpha sum_x g_x q_x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import VOID, Episode, Prediction
from fsseg_bench.nn.bilinear import pull_back, resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import NORM_FLOOR, UnitCells, cosine_scores, norms, unit
from fsseg_bench.schema import Range
from fsseg_methods._shared import _PrototypeMethod

InnerReduction = Literal["sum", "mean"]
InnerGrad = Literal["first", "second", "leaf"]
InnerRes = Literal["feature", "input"]

_LARGEST_UNIT_WEIGHT = 100
"""Of the mean loss for unit prototypes; with 30 the first step already turns them by 60 degrees."""
PIXEL_REF = 2809.0
"""Feature cells of a 417-pixel image at output stride 8 (53 x 53): the cells that the paper's sum runs over."""


@dataclass(frozen=True)
class InnerSwitches:
    """How the inner loop runs."""

    steps: Annotated[int, Range(least=0)] = 10
    """T, gradient steps."""
    eta: float = 0.1
    """Step size."""
    alpha_inner: float = 20.0
    """Factor of the cosines inside the inner loss."""
    inner_reduction: InnerReduction = "mean"
    """Whether the inner loss is a mean over the labelled cells, or their sum as the paper prints."""
    proto_unit_norm: bool = True
    """Whether prototypes are scaled to norm 1 before the first step; the paper does not. A step turns a prototype by an
    angle proportional to 1 / norm squared; the scores depend on directions alone."""
    inner_pixel_ref: Annotated[float, Range(least=0)] = PIXEL_REF
    """With `sum`: M_ref, which times the mean is the inner loss, so that a step does not depend on the number of cells;
    0 is the plain sum."""
    inner_res: InnerRes = "feature"
    """Where the inner loss lives: on the feature cells, or on the input's pixels (scores upsampled)."""
    inner_grad: InnerGrad = "first"
    """What the outer gradient sees: the start, with the inner steps as constants (`first`), both (`second`), or neither
    (`leaf`)."""

    def __post_init__(self) -> None:
        weight = self.inner_pixel_ref or math.inf
        if self.inner_reduction == "sum" and self.proto_unit_norm and weight > _LARGEST_UNIT_WEIGHT:
            raise UserError(
                "inner_reduction=sum turns prototypes of norm 1 by about 90 degrees a step: add proto_unit_norm=false "
                f"(the paper's own scale) or an inner_pixel_ref in (0, {_LARGEST_UNIT_WEIGHT}]"
            )


@dataclass(frozen=True)
class LoopSwitches(_PrototypeMethod.Switches, InnerSwitches):
    """Of the prototypes, the scores and the inner loop."""


class InnerResult(NamedTuple):
    """What the loop gives back; T = steps, G = classes, background first."""

    prototypes: Tensor
    """(B, G, C), after the last step."""
    losses: Tensor
    """(B, T+1), the mean cross-entropy over the labelled cells after 0..T steps (whatever the reduction)."""
    angles: Tensor
    """(B, T+1, G), degrees between each prototype and its start after 0..T steps."""


def adapt(episode: Episode, query: UnitCells, start: Tensor, switches: LoopSwitches) -> Prediction:
    """Labels the query with the prototypes ``start`` (B, N+1, C), descends on them, and scores with the last ones.

    Logits are (B, N+1, h, w). The diagnostics show an inert or overshooting loop: ``feature_norm`` (mean over the
    query's cells) and ``prototype_norm`` (mean over the ways, at the start) are (B,); ``inner_loss`` (mean
    cross-entropy), ``inner_angle`` (degrees from the start, mean over the ways) and ``inner_angle_background`` are
    (B, T+1), after 0..T steps.
    """
    corners = switches.align_corners
    size = episode.size if switches.inner_res == "input" else None
    labels = inner_labels(query.cells, start, size=size, align_corners=corners)
    result = inner_loop(query.cells, start, labels, options=switches, align_corners=corners)
    logits = cosine_scores(query.cells, result.prototypes, alpha=switches.alpha)
    means = _means(query.norms.detach(), start.detach(), result.angles)
    diagnostics = {
        "feature_norm": means.feature_norm,
        "prototype_norm": means.prototype_norm,
        "inner_loss": result.losses,
        "inner_angle": means.angle,
        "inner_angle_background": result.angles[:, :, 0],
    }
    return Prediction(logits, diagnostics)


class _Means(NamedTuple):
    feature_norm: Tensor
    prototype_norm: Tensor
    angle: Tensor


@itemwise
def _means(lengths: Tensor, start: Tensor, angles: Tensor) -> _Means:
    ways = norms(start, dim=2)[:, 1:, 0]
    return _Means(lengths.mean(dim=(1, 2)), ways.mean(dim=1), angles[:, :, 1:].mean(dim=2))


@itemwise
def inner_labels(
    unit_query: Tensor, prototypes: Tensor, *, size: tuple[int, int] | None, align_corners: bool = False
) -> Tensor:
    """The inner loop's target: the class of the most similar prototype (B, G, C), int64 in 0..G-1, without gradient.

    Of unit cells (B, C, h, w) these are labels (B, h, w), or with ``size`` (H, W) those of the input's pixels.
    """
    with torch.no_grad():
        cosines = cosine_scores(unit_query, prototypes, alpha=1.0)
        return (cosines if size is None else resize(cosines, size, align_corners)).argmax(dim=1)


@itemwise
def inner_loop(
    unit_query: Tensor, prototypes: Tensor, labels: Tensor, *, options: InnerSwitches, align_corners: bool = False
) -> InnerResult:
    """``options.steps`` steps of gradient descent on the prototypes.

    Args:
        unit_query: (B, C, h, w) cells of norm 1.
        prototypes: (B, G, C), the start. A zero prototype stays zero.
        labels: (B, h, w) or, for an inner loss on pixels, (B, H, W) int64 in 0..G-1; 255 is ignored.
        options: see :class:`InnerSwitches`.
        align_corners: of the upsampling to the labels' size.
    """
    start = unit(prototypes, dim=2) if options.proto_unit_norm else prototypes
    if options.inner_grad == "second":
        return _descend(_InnerLoss(unit_query, labels, options, align_corners), start)
    with torch.no_grad():
        result = _descend(_InnerLoss(unit_query, labels, options, align_corners), start)
    if options.inner_grad == "leaf":
        return result
    # the value of the last step with the gradient of the start, to the bit in the forward pass
    return result._replace(prototypes=result.prototypes + (start - start.detach()))


def _descend(loss: _InnerLoss, start: Tensor) -> InnerResult:
    moving, directions = start, unit(start, dim=2)
    losses, track = [], [directions.detach()]
    for step in range(loss.options.steps + 1):
        with torch.set_grad_enabled(torch.is_grad_enabled() and step < loss.options.steps):
            value, pull = loss(directions, gradient=step < loss.options.steps)
        losses.append(value.detach())
        if pull is not None:
            moving = moving - loss.options.eta * _tangent(pull, moving, directions)
            directions = unit(moving, dim=2)
            track.append(directions.detach())
    path = torch.stack(track, dim=1)
    return InnerResult(moving, torch.stack(losses, dim=1), _degrees(path, path[:, :1]))


def _tangent(pull: Tensor, prototypes: Tensor, directions: Tensor) -> Tensor:
    """The gradient (B, G, C) for prototypes P from v: (v - (v . p) p) / |P|, and 0 for a zero prototype."""
    lengths = norms(prototypes, dim=2)
    radial = (pull * directions).sum(dim=2, keepdim=True)
    return (lengths > 2 * NORM_FLOOR) * (pull - radial * directions) / lengths


def _degrees(a: Tensor, b: Tensor) -> Tensor:
    """Angles between unit vectors (..., C), exact for tiny ones too, where arccos is not."""
    return torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)) * (360 / math.pi)


class _InnerLoss:
    """The inner loss of fixed cells and labels as a function of the prototypes' directions."""

    def __init__(self, unit_query: Tensor, labels: Tensor, options: InnerSwitches, align_corners: bool) -> None:
        self.options = options
        self._cells = unit_query.flatten(2)
        self._grid = (unit_query.shape[2], unit_query.shape[3])
        self._labels = labels
        self._size = (labels.shape[1], labels.shape[2])
        self._align_corners = align_corners
        self._valid = (labels != VOID).to(unit_query.dtype)[:, None]
        self._count = self._valid.sum(dim=(1, 2, 3)).clamp_min(1)
        self._weight = self._valid * self._scale(options)[:, None, None, None]

    def _scale(self, options: InnerSwitches) -> Tensor:
        """(B,) factor of each cell's loss: 1 for the sum, 1/M for the mean, M_ref/M for the rescaled sum."""
        if options.inner_reduction == "mean":
            return 1 / self._count
        return options.inner_pixel_ref / self._count if options.inner_pixel_ref else torch.ones_like(self._count)

    def __call__(self, directions: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """The mean loss (B,) and, if asked for, v (B, G, C) for unit prototypes (B, G, C)."""
        if directions.shape[1] == 2:
            return self._two_classes(directions, gradient)
        scores = self.options.alpha_inner * self._down(directions)
        log_probabilities = scores.log_softmax(dim=1)
        classes = torch.arange(directions.shape[1], device=scores.device)[None, :, None, None]
        one_hot = (self._labels[:, None] == classes).to(scores.dtype)
        value = -(one_hot * log_probabilities).sum(dim=(1, 2, 3)) / self._count
        if not gradient:
            return value, None
        return value, self._up((log_probabilities.exp() - one_hot) * self._weight)

    def _two_classes(self, directions: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        score = self.options.alpha_inner * self._down(directions[:, 1:] - directions[:, :1])
        target = (self._labels == 1).to(score.dtype)[:, None]
        losses = F.binary_cross_entropy_with_logits(score, target, reduction="none")
        value = (losses * self._valid).sum(dim=(1, 2, 3)) / self._count
        if not gradient:
            return value, None
        pull = self._up((score.sigmoid() - target) * self._weight)
        return value, torch.cat((-pull, pull), dim=1)

    def _down(self, directions: Tensor) -> Tensor:
        """Cosines (B, G, H, W) at the labels' resolution."""
        cosines = (directions @ self._cells).reshape(*directions.shape[:2], *self._grid)
        return resize(cosines, self._size, self._align_corners)

    def _up(self, residual: Tensor) -> Tensor:
        """v (B, G, C) from the residuals (B, G, H, W)."""
        cells = pull_back(residual, self._grid, self._align_corners)
        return self.options.alpha_inner * (cells.flatten(2) @ self._cells.mT)
