"""Evaluation: every distinct image encoded once, heads over batches of episodes, integer counts per episode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.data.source import Source
from fsseg_bench.engine.cache import FeatureCache
from fsseg_bench.engine.counts import average_scores, confusion, predict_labels, scores_from_logits
from fsseg_bench.engine.feed import Feed
from fsseg_bench.engine.inference import InferenceModel, stack_features
from fsseg_bench.engine.needs import Announcer, Needs
from fsseg_bench.engine.reader import FeatureReader
from fsseg_bench.engine.stopwatch import Stopwatch
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.episodes import EpisodeTable
from fsseg_bench.protocol.table import Further
from fsseg_bench.records.info import Timings

_SPENT = tuple(f.name for f in fields(Timings) if f.name.startswith("evaluate_"))


@dataclass(frozen=True)
class Setting:
    """How episodes are turned into counts."""

    size: int
    """Side of the input, in pixels."""
    scales: tuple[float, ...] = (1.0,)
    """Query scales; more than one averages the softmax at the input size."""
    head_batch: int = 1
    """Episodes a call of ``predict``."""
    workers: int = 2
    """Threads that decode ahead; 0 decodes in the main thread."""

    def query_size(self, scale: float) -> int:
        """Side of the query at ``scale``, in pixels (417 at 0.7 is 292, at 1.3 it is 542)."""
        return round(self.size * scale)


@dataclass(frozen=True)
class EpisodeResult:
    """The counts of one episode."""

    episode: int
    classes: tuple[int, ...]
    input: Tensor
    """(N+1, N+1) int64 at the input size: rows labels, columns predictions."""
    native: Tensor
    """The same at the query's native size."""
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
        }
        if self.diagnostics:
            row["diagnostics"] = self.diagnostics
        return row


@dataclass(eq=False)
class Evaluator:
    """Evaluates one model on one episode table, from any episode on."""

    model: InferenceModel
    source: Source
    table: EpisodeTable
    setting: Setting
    cache: FeatureCache
    further: Sequence[Further] = ()
    """For each episode the images without masks that the model looks at; empty for most."""
    timings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SPENT, 0), init=False)
    """Seconds spent and things done so far, by their names in run.json."""

    def __post_init__(self) -> None:
        self._reader = FeatureReader(self.model, self.cache)
        query_sizes = [self.setting.query_size(scale) for scale in self.setting.scales]
        self._needs = Needs(self._reader, self.table, self.further, self.setting.size, query_sizes)
        self._watch = Stopwatch(self.model.device)

    def run(self, sink: Callable[[EpisodeResult], None], start: int = 0, progress: Progress | None = None) -> None:
        """Evaluates episodes ``start`` .. end in order and hands each result to ``sink``."""
        self.run_heads((self.model,), lambda results: sink(results[0]), start, progress)

    def run_heads(
        self,
        heads: Sequence[InferenceModel],
        sink: Callable[[tuple[EpisodeResult, ...]], None],
        start: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """The same for several models that read this one's features; ``sink`` gets a result of each."""
        begin = time.perf_counter()
        total = len(self.table)
        with (
            Feed(self.source, self.setting.workers) as feed,
            (progress or Progress()).meter("evaluate", total, start) as meter,
        ):
            announcer = Announcer(self._needs, feed, start)
            for first in range(start, total, self.setting.head_batch):
                chunk = range(first, min(first + self.setting.head_batch, total))
                announcer.announce(chunk)
                scored = self._scores(feed, chunk, heads)
                with self._watch.measuring("evaluate_count_seconds"):
                    results = [self._results(feed, chunk, scores, diagnostics) for scores, diagnostics in scored]
                self._watch.add(self._watch.taken(), self.timings)
                self.timings["evaluate_episodes"] += len(chunk)
                for of_heads in zip(*results, strict=True):
                    sink(of_heads)
                meter.advance(len(chunk), self._rate(begin))
        self.timings["evaluate_seconds"] += time.perf_counter() - begin

    def predict(self, indices: range) -> list[Tensor]:
        """Predicted labels (S, S) uint8 of single episodes at the input size, for pictures."""
        with Feed(self.source, 0) as feed:
            ((scores, _),) = self._scores(feed, indices, (self.model,))
        return list(predict_labels(scores, (self.setting.size, self.setting.size)).cpu())

    def _rate(self, begin: float) -> str:
        return f"{self.timings['evaluate_episodes'] / max(time.perf_counter() - begin, 1e-9):.1f} episodes/s"

    def _results(self, feed: Feed, chunk: range, scores: Tensor, diagnostics: dict[str, Tensor]) -> list[EpisodeResult]:
        device, ways, size = self.model.device, self.table.ways, self.setting.size
        labels = torch.stack([feed.mask(key) for key in self._needs.labels(chunk, size)]).to(device, non_blocking=True)
        predicted = predict_labels(scores, (size, size))
        at_input = confusion(predicted, labels, ways)
        at_native = []
        for row, key in enumerate(self._needs.labels(chunk, None)):
            label = feed.mask(key).unsqueeze(0).to(device, non_blocking=True)
            prediction = predict_labels(scores[row : row + 1], (label.shape[1], label.shape[2]))
            at_native.append(confusion(prediction, label, ways))
        both = torch.stack([at_input, torch.cat(at_native)]).cpu()  # one transfer a chunk
        self._check_finite(scores, chunk)
        predicted = predicted.cpu()
        values = {name: tensor.float().cpu().tolist() for name, tensor in diagnostics.items()}
        return [
            EpisodeResult(
                i,
                self.table.classes[i],
                both[0, row],
                both[1, row],
                predicted[row],
                {name: rows[row] for name, rows in values.items()},
            )
            for row, i in enumerate(chunk)
        ]

    def _check_finite(self, scores: Tensor, chunk: range) -> None:
        """NaN would be counted as background: it is an error instead."""
        finite = torch.isfinite(scores).flatten(1).all(dim=1).tolist()
        if not all(finite):
            raise UserError(
                f"episode {chunk[finite.index(False)]}: the method's logits are not finite; its parameters may have "
                "diverged in training (lower recipe.lr), or a switch is out of range"
            )

    def _scores(
        self, feed: Feed, chunk: range, heads: Sequence[InferenceModel]
    ) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """For each head: pixel scores (B, 1 or N+1, h, w) of the chunk's episodes, and its diagnostics at scale 1.

        Without a scale of 1 they are those of the first scale.
        """
        logits: list[list[Tensor]] = [[] for _ in heads]
        diagnostics: list[dict[str, Tensor]] = [{} for _ in heads]
        for scale in self.setting.scales:
            episode = self._episode(feed, chunk, scale)
            for i, head in enumerate(heads):
                with self._watch.measuring("evaluate_predict_seconds"):
                    head_logits, head_diagnostics = head.predict(episode)
                logits[i].append(head_logits)
                if scale == 1.0 or not diagnostics[i]:
                    diagnostics[i] = head_diagnostics
        size = (self.setting.size, self.setting.size)
        scores = [average_scores(by, size) if len(by) > 1 else scores_from_logits(by[0]) for by in logits]
        return list(zip(scores, diagnostics, strict=True))

    def _episode(self, feed: Feed, chunk: range, scale: float) -> Episode:
        """The chunk's episodes with their features."""
        table, size, side = self.table, self.setting.size, self.setting.query_size(scale)
        with self._watch.measuring("evaluate_encode_seconds"):
            masks = [feed.mask(key) for key in self._needs.support_masks(chunk)]
            keys = self._needs.features(chunk, side)
            features = iter(self._reader.features(feed, [key for kind in keys for key in kind]))
            queries, supports, unlabelled = (list(islice(features, len(kind))) for kind in keys)
            shape = (len(chunk), table.ways, table.shots)
            episode = Episode(
                support=stack_features(supports, shape),
                support_masks=torch.stack(masks).view(*shape, size, size).to(self.model.device, non_blocking=True),
                query=stack_features(queries, shape[:1]),
                size=(side, side),
                seeds=tuple(table.seed(i) for i in chunk),
                unlabelled=stack_features(unlabelled, (*shape[:2], -1)) if unlabelled else None,
            )
        self.timings["evaluate_encoded_images"] = self._reader.encoded
        return episode
