"""What is counted of episodes: begun on the device, read on the host once it has arrived there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.engine.counts import confusion, predict_labels, void_counts
from fsseg_bench.engine.stopwatch import Span
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.side import Side


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

    def read(self, classes: Sequence[tuple[int, ...]]) -> list[tuple[EpisodeResult, ...]]:
        """The results of each episode, one for each head; ``classes`` are those of all episodes of the table.

        Raises:
            UserError: an episode's logits are not finite: NaN would be counted as background.
        """
        tensors = iter(self.arrived())
        heads = []
        for names in self.diagnostics:
            finite, at_input, at_native, void_input, void_native, predicted = (next(tensors) for _ in range(6))
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
                        predicted[row],
                        {name: of_all[row] for name, of_all in values.items()},
                    )
                    for row, i in enumerate(self.chunk)
                ]
            )
        return list(zip(*heads, strict=True))

    def _check(self, finite: list[bool]) -> None:
        if not all(finite):
            raise UserError(
                f"episode {self.chunk[finite.index(False)]}: the method's logits are not finite; its parameters may "
                "have diverged in training (lower recipe.lr), or a switch is out of range"
            )


def begin_counting(scored: Sequence[Scored], labels: Labels, ways: int, side: Side) -> list[Tensor]:
    """Whatever is to be known of a chunk, on the device: of each head whether the scores are finite (B,), the pixel
    counts at the input size and at the native one (B, N+1, N+1), those of void pixels (B, N+1) likewise, the predicted
    labels (B, S, S), and diagnostics. ``side`` is that of the input: an image's native counts are of its part alone."""
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
            void_counts(predicted, at_input, ways),
            torch.cat([void_counts(prediction, label, ways) for prediction, label in native]),
            predicted,
            *(tensor.float() for tensor in diagnostics.values()),
        ]
    return results
