"""FWB's parts: class vectors and relevance, the similarity map, the exit layer, and the boosted experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import cosine_scores, masked_average, unit, unit_cells
from fsseg_methods._fwb.boosting import boost
from fsseg_methods._fwb.gated import Strip, gated_response, gated_responses, tap_products

NONE = 1e-12
"""Added to counts and sums of weights: leaves them as they are, and keeps an empty one from dividing by 0."""
_LEAST_PEAK = 1e-16
_HIDDEN = 128


class ClassVectors(NamedTuple):
    """What the supports of each episode say."""

    vector: Tensor
    """(B, C): f * r, the weighted class vector, summed over the shots."""
    relevance: Tensor
    """(B, C): r, of norm 1, or ones without relevance."""


class Ensemble(NamedTuple):
    """The boosted experts and what they say of the query; E = steps + 1."""

    vectors: Tensor
    """(B, E, C)."""
    losses: Tensor
    """(B, E, K), each support's mean cross-entropy."""
    ious: Tensor
    """(B, E, K), each support's intersection over union."""
    masks: Tensor
    """(B, E, H, W) bool, of the query, at image size."""


class ExitLayer(nn.Module):
    """A 3x3 convolution, ReLU and a 1x1 convolution to background and foreground."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, _HIDDEN, 3, padding=1)
        self.outer = nn.Conv2d(_HIDDEN, 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) to logits (B, 2, h, w)."""
        logits: Tensor = self.outer(F.relu(self.inner(features)))
        return logits

    def products(self, features: Tensor) -> Iterator[Strip]:
        """What the first convolution does to features (B, D, h, w), whatever they are multiplied with."""
        return tap_products(features, self.inner.weight)

    def margin(self, strips: Sequence[Strip], gates: Tensor) -> Tensor:
        """Foreground logit minus background logit (B, h, w) of features times gates (B, 1, h, w).

        ``strips`` are all of the features' :meth:`products`. The gates alone have a gradient.
        """
        bias, readout, offset = self._margin_weights()
        return gated_response(strips, gates, bias, readout) + offset

    def margins(self, strips: Iterable[Strip], gates: Sequence[Tensor]) -> list[Tensor]:
        """:meth:`margin` for several gates, without gradient; each strip is needed once."""
        bias, readout, offset = self._margin_weights()
        return [response + offset for response in gated_responses(strips, gates, bias, readout)]

    def _margin_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bias of the hidden channels, their weights (each (O,)) and the constant of the logits' difference."""
        assert self.inner.bias is not None
        assert self.outer.bias is not None
        weight, bias = self.outer.weight.detach().flatten(1), self.outer.bias.detach()
        return self.inner.bias.detach(), weight[1] - weight[0], bias[1] - bias[0]


def class_means(top: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Mean features (M, 2, C) of ``top`` (M, C, h, w) under foreground and background; 0 where no cell is left.

    The masks (M, H, W) bool are taken at the features' cells (nearest).
    """
    return masked_average(top, torch.stack((foreground, background), dim=1), map_res="nearest", eps=NONE)


def weighted_vector(foreground: Tensor, background: Tensor, *, relevance: bool = True) -> ClassVectors:
    """r = (f - b) / |f - b| and f * r, from f and b (B, C) each; without ``relevance`` r is 1 throughout."""
    weights = unit(foreground - background, dim=1) if relevance else torch.ones_like(foreground)
    return ClassVectors(foreground * weights, weights)


def weighted_cells(top: Tensor, relevance: Tensor) -> Tensor:
    """Top features (B, C, h, w) times the relevance (B, C), each cell scaled to norm 1."""
    with torch.autocast(top.device.type, enabled=False):
        return unit_cells(top.float() * relevance[:, :, None, None]).cells


def similarity(cells: Tensor, vectors: Tensor, size: tuple[int, ...]) -> Tensor:
    """ReLU of the cosine, resized to ``size`` (H, W) and divided by its largest value: (B, 1, H, W) in [0, 1].

    Cells (B, C, h, w) have norm 1; where none resembles the vector (B, C) the result is 0 throughout.
    """
    cosines = F.relu(cosine_scores(cells, vectors[:, None], alpha=1.0))
    full = resize(cosines, (size[0], size[1]), align_corners=True)
    peaks = full.flatten(1).max(dim=1).values
    return full / (peaks + _LEAST_PEAK)[:, None, None, None]


# One episode at a time on a CPU: Adam's steps enlarge any other rounding, until experts vote otherwise.
@itemwise
def experts(
    start: Tensor,
    relevance: Tensor,
    query_low: Tensor,
    query_top: Tensor,
    *shots: Tensor,
    exit_layer: ExitLayer,
    size: tuple[int, int],
    steps: int,
    last_support_low: bool = False,
) -> Ensemble:
    """Boosts on the supports and applies every expert to the query.

    Args:
        start: (B, C), the first expert's vector.
        relevance: (B, C), which multiplies all top features.
        query_low: (B, D, h, w).
        query_top: (B, C, h', w').
        shots: of each support low-level features, top features and labels (B, H, W) uint8 in {0, 1, 255}, one
            after the other; supports may differ in size.
        exit_layer: the trained one.
        size: (H, W) of the query's masks.
        steps: Adam steps.
        last_support_low: whether the last support's low-level features stand in for the query's.
    """
    lows, tops, labels = shots[0::3], shots[1::3], shots[2::3]
    cells = [weighted_cells(top, relevance) for top in tops]
    strips = [list(exit_layer.products(low)) for low in lows]

    def margins(vectors: Tensor) -> list[Tensor]:
        grids = [low.shape[2:] for low in lows]
        gates = [similarity(cell, vectors, grid) for cell, grid in zip(cells, grids, strict=True)]
        scores = [exit_layer.margin(strip, gate) for strip, gate in zip(strips, gates, strict=True)]
        return [_at(score, true.shape[1:]) for score, true in zip(scores, labels, strict=True)]

    boosted = boost(start, margins, labels, steps=steps)
    low = lows[-1] if last_support_low else query_low
    query = weighted_cells(query_top, relevance)
    gates = [similarity(query, vectors, low.shape[2:]) for vectors in boosted.vectors.unbind(dim=1)]
    scores = exit_layer.margins(strips[-1] if last_support_low else exit_layer.products(low), gates)
    return Ensemble(*boosted, torch.stack([_at(score, size) > 0 for score in scores], dim=1))


def _at(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (B, h, w) at image size."""
    return resize(maps, (size[0], size[1]), align_corners=True)
