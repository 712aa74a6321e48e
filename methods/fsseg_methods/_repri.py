"""RePRI's linear classifier of a query's cells, fitted to the supports and to the query itself.

A cell z of norm 1 is foreground with probability p = sigmoid(alpha cos(z, w) - b). The prototype w and the bias b go
down the gradient of

    CE(supports) + k KL(mean of p || pi) + h H(query),

where CE and H are means of log losses and entropies over cells, and pi are the proportions of background and foreground
(RePRI, Eq. 2 to 5). All gradients are closed forms. With g_z = dL/ds_z for a logit s_z and u = w / |w|,

    dL/db = -sum_z g_z,      dL/dw = (v - (v . u) u) / |w|  for  v = alpha sum_z g_z z

(with the authors' 1e-10 beside |w| in the denominators).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import VOID
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.schema import Range

_EPS = 1e-10  # the authors': inside logarithms, and beside counts and norms in denominators

Step = Annotated[int, Range(least=1)]
Weight = Annotated[float, Range(least=0)]


@dataclass(frozen=True)
class FitSwitches:
    """How the classifier is fitted."""

    steps: Annotated[int, Range(least=0)] = 49
    """Gradient steps; the authors' option 50 counts from 1 and stops before."""
    eta: float = 0.025
    """Step size."""
    alpha: float = 20.0
    """Factor of the cosines."""
    kl_weight: Weight | None = None
    """Weight of the distance to the proportions, at first; `none`: 1 / shots."""
    entropy_weight: Weight | None = None
    """Weight of the query's entropy; `none`: 1 / shots."""
    estimate_after: tuple[Step, ...] = (9,)
    """After which steps the proportions are taken from the prediction again; each raises `kl_weight` by 1."""


class Fit(NamedTuple):
    """The classifier after 0..T steps, and what step t + 1 starts from."""

    prototypes: Tensor
    """(B, T+1, C), w."""
    biases: Tensor
    """(B, T+1), b."""
    loss: Tensor
    """(B, T+1), the weighted sum of the next three."""
    cross_entropy: Tensor
    """(B, T+1), mean over the supports' labelled cells."""
    kl: Tensor
    """(B, T+1), of the mean prediction from the proportions."""
    entropy: Tensor
    """(B, T+1), mean over the query's valid cells."""
    foreground: Tensor
    """(B, T+1), mean foreground probability of the valid cells."""
    proportion: Tensor
    """(B, T+1), that of the foreground in pi."""


def cell_labels(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Labels (B, K, H, W) uint8 at the cells (B, K, h, w), by nearest neighbour: cell i reads row floor(i H / h)."""
    return F.interpolate(masks.float(), size=grid, mode="nearest").to(masks.dtype)


@itemwise
def scores(cells: Tensor, prototypes: Tensor, *, alpha: float) -> Tensor:
    """alpha cos(z, w) of unit cells (B, C, h, w) and prototypes (B, C): (B, h, w)."""
    return (alpha * (_scaled(prototypes)[:, None] @ cells.flatten(2))).view(len(cells), *cells.shape[2:])


@itemwise
def logits(cells: Tensor, prototypes: Tensor, biases: Tensor, *, alpha: float, size: tuple[int, int]) -> Tensor:
    """0 and alpha cos(z, w) - b as logits (B, 2, H, W) of an image of ``size`` (H, W); the cosines are resized.

    In full precision: b is near the cosines' mean, so that little is left of either.
    """
    upsampled = resize(scores(cells, prototypes, alpha=alpha)[:, None], size, align_corners=True)
    foreground = upsampled - biases[:, None, None, None]
    return torch.cat((torch.zeros_like(foreground), foreground), dim=1)


@itemwise
def fit(
    query: Tensor, support: Tensor, labels: Tensor, valid: Tensor, share: Tensor | None = None, *, options: FitSwitches
) -> Fit:
    """``options.steps`` gradient steps from the mean of the supports' foreground cells; no gradient is recorded.

    Args:
        query: (B, C, h, w) cells of norm 1.
        support: (B, K, C, h, w) cells of norm 1.
        labels: (B, K, h, w) of the supports' cells: 1 foreground, 0 background, 255 counts nowhere.
        valid: (B, h, w) bool, the query's cells that are no padding, at least one. The first bias is a mean over all.
        share: (B,) the foreground's proportion, which then stays; None: estimated, as ``options`` says.
        options: see :class:`FitSwitches`.
    """
    with torch.no_grad():
        terms = _Terms(query.flatten(2), support.flatten(3), labels.flatten(2), valid.flatten(1), options)
        return _descend(terms, options, share)


def _descend(terms: _Terms, options: FitSwitches, share: Tensor | None) -> Fit:
    prototype, bias = terms.start()
    state = terms.at(prototype, bias)
    proportions, kl_weight = state.mean if share is None else (1 - share, share), terms.weight(options.kl_weight)
    rows: list[tuple[Tensor, ...]] = []
    for step in range(options.steps + 1):
        if share is None and step in options.estimate_after:
            proportions, kl_weight = state.mean, kl_weight + 1
        losses = terms.losses(state, proportions, kl_weight)
        rows.append((prototype, bias, *losses, state.mean[1], proportions[1]))
        if step < options.steps:
            pull, push = terms.gradient(state, proportions, kl_weight)
            prototype = prototype - options.eta * _projected(pull, prototype)
            bias = bias - options.eta * push
            state = terms.at(prototype, bias)
    return Fit(*(torch.stack(part, dim=1) for part in zip(*rows, strict=True)))


def _projected(pull: Tensor, prototype: Tensor) -> Tensor:
    """dL/dw (B, C) from v; the length of a zero prototype is taken as constant, as by autograd."""
    lengths = _lengths(prototype)
    radial = (pull * prototype).sum(dim=1, keepdim=True) / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return (pull - radial * _scaled(prototype)) / (lengths + _EPS)


class _State(NamedTuple):
    """Probabilities of foreground and background; the second is not 1 less the first, which would round to 0."""

    query: tuple[Tensor, Tensor]
    """(B, M) each."""
    support: tuple[Tensor, Tensor]
    """(B, K, M) each."""
    mean: tuple[Tensor, Tensor]
    """(B,) each, of background and foreground over the valid cells of the query."""


class _Terms:
    """The terms of the loss and their gradients, of fixed cells."""

    def __init__(self, query: Tensor, support: Tensor, labels: Tensor, valid: Tensor, options: FitSwitches) -> None:
        self._query, self._support, self._options = query, support, options
        self._object = (labels == 1).to(support.dtype)
        known = (labels != VOID).to(support.dtype)
        self._known = known / known.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        counted = valid.to(query.dtype)
        self._counted = counted / counted.sum(dim=1, keepdim=True)
        self._entropy_weight = self.weight(options.entropy_weight)

    def weight(self, given: float | None) -> float:
        """A weight of the query's terms."""
        return 1 / self._support.shape[1] if given is None else given

    def start(self) -> tuple[Tensor, Tensor]:
        """w (B, C), the mean foreground cell of all supports, and b (B,), the mean score of all query cells."""
        total = (self._support @ self._object[..., None]).sum(dim=1)[..., 0]
        prototype = total / (self._object.sum(dim=(1, 2)) + _EPS)[:, None]
        return prototype, self._options.alpha * (_scaled(prototype)[:, None] @ self._query)[:, 0].mean(dim=1)

    def at(self, prototype: Tensor, bias: Tensor) -> _State:
        """What the classifier says of all cells."""
        alpha, scaled = self._options.alpha, _scaled(prototype)
        query = alpha * (scaled[:, None] @ self._query)[:, 0] - bias[:, None]
        support = alpha * (scaled[:, None, None] @ self._support)[:, :, 0] - bias[:, None, None]
        (p, rest), supports = (query.sigmoid(), (-query).sigmoid()), (support.sigmoid(), (-support).sigmoid())
        return _State((p, rest), supports, ((rest * self._counted).sum(dim=1), (p * self._counted).sum(dim=1)))

    def losses(self, state: _State, proportions: tuple[Tensor, Tensor], kl_weight: float) -> tuple[Tensor, ...]:
        """Weighted sum, cross-entropy, KL and entropy, (B,) each."""
        (p, rest), (known, other) = state.query, state.support
        logs = self._object * (known + _EPS).log() + (1 - self._object) * (other + _EPS).log()
        cross_entropy = -(logs * self._known).sum(dim=(1, 2))
        ratios = self._ratios(state, proportions)
        kl = state.mean[0] * ratios[0] + state.mean[1] * ratios[1]
        entropy = -((p * (p + _EPS).log() + rest * (rest + _EPS).log()) * self._counted).sum(dim=1)
        return cross_entropy + kl_weight * kl + self._entropy_weight * entropy, cross_entropy, kl, entropy

    def gradient(self, state: _State, proportions: tuple[Tensor, Tensor], kl_weight: float) -> tuple[Tensor, Tensor]:
        """v (B, C) and dL/db (B,)."""
        (p, rest), (known, other) = state.query, state.support
        wrong = (1 - self._object) / (other + _EPS) - self._object / (known + _EPS)
        of_support = known * other * wrong * self._known
        background, foreground = self._ratios(state, proportions)  # d KL / d mean, less 1 in both
        surprise = (rest + _EPS).log() + rest / (rest + _EPS) - (p + _EPS).log() - p / (p + _EPS)  # d H / d p
        slope = kl_weight * (foreground - background)[:, None] + self._entropy_weight * surprise
        of_query = p * rest * slope * self._counted
        pull = (self._query @ of_query[..., None])[..., 0] + (self._support @ of_support[..., None]).sum(dim=1)[..., 0]
        return self._options.alpha * pull, -(of_query.sum(dim=1) + of_support.sum(dim=(1, 2)))

    @staticmethod
    def _ratios(state: _State, proportions: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Logarithms of the mean prediction beside the proportions, (B,) each."""
        (background, foreground), (pi_background, pi_foreground) = state.mean, proportions
        return (background / (pi_background + _EPS)).log(), (foreground / (pi_foreground + _EPS)).log()


def _lengths(prototypes: Tensor) -> Tensor:
    """|w|, (B, 1)."""
    return prototypes.square().sum(dim=1, keepdim=True).sqrt()


def _scaled(prototypes: Tensor) -> Tensor:
    """w / (|w| + 1e-10): its products with unit cells are the cosines."""
    return prototypes / (_lengths(prototypes) + _EPS)
