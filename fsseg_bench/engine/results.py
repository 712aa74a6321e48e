"""What is counted of episodes: begun on the device, read on the host once it has arrived there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.engine.counts import boundary_counts, confusion, predict_labels, void_counts
from fsseg_bench.engine.stopwatch import Span
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.side import Side


class NotFiniteError(UserError):
    """A method's logits are not finite."""


@dataclass(frozen=True)
class EpisodeResult:
    """The counts of one episode."""

    episode: int
    classes: tuple[int, ...]
    input: Tensor
    """(N+1, N+1) int64 at the input size: rows labels, columns predictions."""
    native: Tensor
    """The same at the query's native size."""
    input_void: Tensor
    """(N+1,) int64: what is predicted at void pixels at the input size."""
    native_void: Tensor
    """The same at the native size."""
    input_boundary: Tensor | None
    """(N, 3) int64 of the bands along outlines at the input size, see
    :func:`fsseg_bench.engine.counts.boundary_counts`; None where the protocol counts none."""
    native_boundary: Tensor | None
    """The same at the native size."""
    prediction: Tensor
    """(S, S) uint8 on the CPU: what was predicted at the input size, in 0..N."""
    diagnostics: dict[str, Any]
    """What the method recorded: a number or a list each."""

    def row(self) -> dict[str, Any]:
        """The row of the episode log."""
        row: dict[str, Any] = {
            "episode": self.episode,
            "classes": list(self.classes),
            "input": self.input.flatten().tolist(),
            "native": self.native.flatten().tolist(),
            "input_void": self.input_void.tolist(),
            "native_void": self.native_void.tolist(),
        }
        if self.input_boundary is not None and self.native_boundary is not None:
            row["input_boundary"] = self.input_boundary.flatten().tolist()
            row["native_boundary"] = self.native_boundary.flatten().tolist()
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
    """(H, W) of each query."""


class ChunkResults(NamedTuple):
    """The results of a chunk, which may still be on their way."""

    chunk: range
    arrived: Callable[[], list[Tensor]]
    """What :func:`begin_counting` lists, on the host."""
    diagnostics: list[list[str]]
    """Their names, for each head."""
    spans: list[Span]
    """The device's work for it."""
    boundary: bool
    """Whether bands along outlines are counted."""

    def read(self, classes: Sequence[tuple[int, ...]]) -> list[tuple[EpisodeResult, ...]]:
        """The results of each episode, one for each head; ``classes`` are those of all episodes of the table.

        Raises:
            NotFiniteError: an episode's logits are not finite: NaN would be counted as background.
        """
        tensors = iter(self.arrived())
        heads = []
        for names in self.diagnostics:
            finite, at_input, at_native, void_input, void_native, predicted = (next(tensors) for _ in range(6))
            bands = (next(tensors), next(tensors)) if self.boundary else None
            self._check(finite.tolist())
            values = {name: next(tensors).tolist() for name in names}
            heads.append(
                [
                    EpisodeResult(
                        i,
                        classes[i],
                        at_input[row],
                        at_native[row],
                        void_input[row],
                        void_native[row],
                        None if bands is None else bands[0][row],
                        None if bands is None else bands[1][row],
                        predicted[row],
                        {name: of_all[row] for name, of_all in values.items()},
                    )
                    for row, i in enumerate(self.chunk)
                ]
            )
        return list(zip(*heads, strict=True))

    def _check(self, finite: list[bool]) -> None:
        if not all(finite):
            raise NotFiniteError(
                f"episode {self.chunk[finite.index(False)]}: the method's logits are not finite; its parameters may "
                "have diverged in training (lower recipe.lr), or a switch is out of range"
            )


def begin_counting(
    scored: Sequence[Scored], labels: Labels, ways: int, side: Side, boundary: float = 0.0
) -> list[Tensor]:
    """Whatever is to be known of a chunk, on the device: of each head whether the scores are finite (B,), the pixel
    counts at the input size and at the native one (B, N+1, N+1), those of void pixels (B, N+1) likewise, the predicted
    labels (B, S, S), with ``boundary``, a share of the diagonal, the bands' counts (B, N, 3) at both sizes, and
    diagnostics. ``side`` is that of the input: an image's native counts, and its bands, are of its part alone."""
    results = []
    at_input = labels.input[0][None] if len(labels.input) == 1 else torch.stack(list(labels.input))
    shapes = [(label.shape[0], label.shape[1]) for label in labels.native]
    for scores, diagnostics in scored:
        predicted = predict_labels(scores, (at_input.shape[1], at_input.shape[2]))
        native = [
            (predict_labels(scores[row : row + 1], shape, side.shares(*shape)), label[None])
            for row, (label, shape) in enumerate(zip(labels.native, shapes, strict=True))
        ]
        results += [
            torch.isfinite(scores).flatten(1).all(dim=1),
            confusion(predicted, at_input, ways),
            torch.cat([confusion(prediction, label, ways) for prediction, label in native]),
            _void(predicted, at_input, shapes, ways, side),
            torch.cat([void_counts(prediction, label, ways) for prediction, label in native]),
            predicted,
            *(_bands(predicted, at_input, native, ways, side, boundary) if boundary else ()),
            *(tensor.float() for tensor in diagnostics.values()),
        ]
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
    predicted: Tensor, at_input: Tensor, native: Sequence[tuple[Tensor, Tensor]], ways: int, side: Side, share: float
) -> tuple[Tensor, Tensor]:
    """(B, N, 3) at the input size and at the native one; padding is outside of the image."""
    entered = []
    for row, (_, label) in enumerate(native):
        height, width = side.part(label.shape[1], label.shape[2])
        part = slice(row, row + 1), slice(0, height), slice(0, width)
        entered.append(boundary_counts(predicted[part], at_input[part], ways, share))
    return torch.cat(entered), torch.cat([boundary_counts(*pair, ways, share) for pair in native])
