"""What is counted of episodes: begun on the device, read on the host once it has arrived there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.engine.counts import boundary_counts, confusion, predict_labels, void_counts
from fsseg_bench.engine.stopwatch import Span
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.side import Side
from fsseg_bench.protocol.spec import RESOLUTIONS, Resolution


class NotFiniteError(UserError):
    """A method's logits are not finite."""


class Counted(NamedTuple):
    """What is counted of an episode at one resolution."""

    pixels: Tensor
    """(N+1, N+1) int64: rows labels, columns predictions."""
    void: Tensor
    """(N+1,) int64: what is predicted at void pixels."""
    boundary: Tensor | None
    """(N, 3) int64 of the bands along outlines, see :func:`fsseg_bench.engine.counts.boundary_counts`; None where the
    protocol counts none."""


@dataclass(frozen=True)
class EpisodeResult:
    """The counts of one episode."""

    episode: int
    classes: tuple[int, ...]
    at: Mapping[Resolution, Counted]
    """By resolution: at the input size, at the query's native size, or at both."""
    prediction: Tensor
    """(S, S) uint8 on the CPU: what was predicted at the input size, in 0..N."""
    diagnostics: dict[str, Any]
    """What the method recorded: a number or a list each."""

    @property
    def input(self) -> Tensor:
        """(N+1, N+1) pixels at the input size."""
        return self.at["input"].pixels

    @property
    def native(self) -> Tensor:
        """(N+1, N+1) pixels at the native size."""
        return self.at["native"].pixels

    def row(self) -> dict[str, Any]:
        """The row of the episode log."""
        row: dict[str, Any] = {"episode": self.episode, "classes": list(self.classes)}
        row |= {size: counted.pixels.flatten().tolist() for size, counted in self.at.items()}
        row |= {f"{size}_void": counted.void.tolist() for size, counted in self.at.items()}
        for size, counted in self.at.items():
            if counted.boundary is not None:
                row[f"{size}_boundary"] = counted.boundary.flatten().tolist()
        if self.diagnostics:
            row["diagnostics"] = self.diagnostics
        return row


class Scored(NamedTuple):
    """What a head says of a chunk of B episodes."""

    scores: Tensor
    """(B, 1 or N+1, h, w) as :func:`fsseg_bench.engine.counts.scores_from_logits` makes them."""
    diagnostics: dict[str, Tensor]
    """By name, (B, ...)."""


class Labels(NamedTuple):
    """The true labels of a chunk, uint8 on the device."""

    input: Sequence[Tensor]
    """(S, S) of each query."""
    native: Sequence[Tensor]
    """(H, W) of each query; counted or not, they say which part of a padded input is the image."""


class ChunkResults(NamedTuple):
    """The results of a chunk, which may still be on their way."""

    chunk: range
    arrived: Callable[[], list[Tensor]]
    """What :func:`begin_counting` lists, on the host."""
    diagnostics: list[list[str]]
    """Their names, for each head."""
    spans: list[Span]
    """The device's work for it."""
    counted: Sequence[Resolution]
    """Where pixels are counted."""
    boundary: bool
    """Whether bands along outlines are, too."""

    def read(self, classes: Sequence[tuple[int, ...]]) -> list[tuple[EpisodeResult, ...]]:
        """The results of each episode, one for each head; ``classes`` are those of all episodes of the table.

        Raises:
            NotFiniteError: an episode's logits are not finite: NaN would be counted as background.
        """
        tensors = iter(self.arrived())
        heads = []
        for names in self.diagnostics:
            finite, predicted = next(tensors), next(tensors)
            self._check(finite.tolist())
            at = {size: self._counted(tensors) for size in self.counted}
            values = {name: next(tensors).tolist() for name in names}
            heads.append(
                [
                    EpisodeResult(
                        i,
                        classes[i],
                        {size: _of_row(counted, row) for size, counted in at.items()},
                        predicted[row],
                        {name: of_all[row] for name, of_all in values.items()},
                    )
                    for row, i in enumerate(self.chunk)
                ]
            )
        return list(zip(*heads, strict=True))

    def _counted(self, tensors: Iterator[Tensor]) -> Counted:
        """Of all episodes of the chunk: (B, ...) each."""
        return Counted(next(tensors), next(tensors), next(tensors) if self.boundary else None)

    def _check(self, finite: list[bool]) -> None:
        if not all(finite):
            raise NotFiniteError(
                f"episode {self.chunk[finite.index(False)]}: the method's logits are not finite; its parameters may "
                "have diverged in training (lower recipe.lr), or a switch is out of range"
            )


def _of_row(counted: Counted, row: int) -> Counted:
    return Counted(counted.pixels[row], counted.void[row], None if counted.boundary is None else counted.boundary[row])


def begin_counting(
    scored: Sequence[Scored],
    labels: Labels,
    ways: int,
    side: Side,
    counted: Sequence[Resolution] = RESOLUTIONS,
    boundary: float = 0.0,
) -> list[Tensor]:
    """Whatever is to be known of a chunk, on the device: of each head whether the scores are finite (B,), the predicted
    labels (B, S, S) at the input size, for each resolution of ``counted`` the pixel counts (B, N+1, N+1), those of void
    pixels (B, N+1) and, with ``boundary``, a share of the diagonal, the bands' (B, N, 3), and diagnostics. ``side`` is
    that of the input: an image's native counts, and its bands, are of its part alone."""
    results = []
    at_input = labels.input[0][None] if len(labels.input) == 1 else torch.stack(list(labels.input))
    shapes = [(label.shape[0], label.shape[1]) for label in labels.native]
    for scores, diagnostics in scored:
        predicted = predict_labels(scores, (at_input.shape[1], at_input.shape[2]))
        results += [torch.isfinite(scores).flatten(1).all(dim=1), predicted]
        if "input" in counted:
            results += [confusion(predicted, at_input, ways), _void(predicted, at_input, shapes, ways, side)]
            results += _bands(predicted, at_input, shapes, ways, side, boundary)
        if "native" in counted:
            pairs = [
                (predict_labels(scores[row : row + 1], shape, side.shares(*shape)), label[None])
                for row, (label, shape) in enumerate(zip(labels.native, shapes, strict=True))
            ]
            results.append(torch.cat([confusion(*pair, ways) for pair in pairs]))
            results.append(torch.cat([void_counts(*pair, ways) for pair in pairs]))
            if boundary:
                results.append(torch.cat([boundary_counts(*pair, ways, boundary) for pair in pairs]))
        results += [tensor.float() for tensor in diagnostics.values()]
    return results


def _void(predicted: Tensor, at_input: Tensor, shapes: Sequence[tuple[int, int]], ways: int, side: Side) -> Tensor:
    """(B, N+1) at the input size; padding, which is void in the labels as well, is outside of the image."""
    if not side.pads:
        return void_counts(predicted, at_input, ways)
    counts = []
    for row, shape in enumerate(shapes):
        height, width = side.part(*shape)
        part = slice(row, row + 1), slice(0, height), slice(0, width)
        counts.append(void_counts(predicted[part], at_input[part], ways))
    return torch.cat(counts)


def _bands(
    predicted: Tensor, at_input: Tensor, shapes: Sequence[tuple[int, int]], ways: int, side: Side, share: float
) -> list[Tensor]:
    """(B, N, 3) at the input size, where they are asked for; padding is outside of the image."""
    if not share:
        return []
    entered = []
    for row, shape in enumerate(shapes):
        height, width = side.part(*shape)
        part = slice(row, row + 1), slice(0, height), slice(0, width)
        entered.append(boundary_counts(predicted[part], at_input[part], ways, share))
    return [torch.cat(entered)]
