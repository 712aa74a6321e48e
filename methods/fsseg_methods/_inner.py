"""What the methods with an inner loop share: the query's pass through it, and its figures for the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fsseg_bench.method import Episode, Prediction
from fsseg_bench.nn.inner import InnerResult, InnerSwitches, inner_labels, inner_loop
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import UnitCells, cosine_scores, norms
from fsseg_methods._prototype import _PrototypeMethod


@dataclass(frozen=True)
class LoopSwitches(_PrototypeMethod.Switches, InnerSwitches):
    """Of the prototypes, the scores and the inner loop."""


def adapt(episode: Episode, query: UnitCells, start: Tensor, switches: LoopSwitches) -> Prediction:
    """Labels the query with the prototypes ``start`` (B, N+1, C), descends on them, and scores with the last ones.

    Logits are (B, N+1, h, w); the diagnostics are those of :func:`diagnostics`.
    """
    corners = switches.align_corners
    size = episode.size if switches.inner_res == "input" else None
    labels = inner_labels(query.cells, start, size=size, align_corners=corners)
    result = inner_loop(query.cells, start, labels, options=switches, align_corners=corners)
    logits = cosine_scores(query.cells, result.prototypes, alpha=switches.alpha)
    return Prediction(logits, diagnostics(query, start, result))


def diagnostics(query: UnitCells, start: Tensor, result: InnerResult) -> dict[str, Tensor]:
    """Figures that show an inert or overshooting loop, one row an episode.

    ``feature_norm`` (mean over the query's cells) and ``prototype_norm`` (mean over the ways, at the start) are (B,).
    ``inner_loss`` (mean cross-entropy), ``inner_angle`` (degrees from the start, mean over the ways) and
    ``inner_angle_background`` are (B, T+1), after 0..T steps.
    """
    means = _means(query.norms.detach(), start.detach(), result.angles)
    return {
        "feature_norm": means.feature_norm,
        "prototype_norm": means.prototype_norm,
        "inner_loss": result.losses,
        "inner_angle": means.angle,
        "inner_angle_background": result.angles[:, :, 0],
    }


class _Means(NamedTuple):
    feature_norm: Tensor
    prototype_norm: Tensor
    angle: Tensor


@itemwise
def _means(lengths: Tensor, start: Tensor, angles: Tensor) -> _Means:
    ways = norms(start, dim=2)[:, 1:, 0]
    return _Means(lengths.mean(dim=(1, 2)), ways.mean(dim=1), angles[:, :, 1:].mean(dim=2))
