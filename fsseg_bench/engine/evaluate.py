"""Evaluation: every distinct image encoded once, heads over batches of episodes, integer counts per episode."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from fsseg_bench.data.source import Source
from fsseg_bench.engine.cache import FeatureCache
from fsseg_bench.engine.counts import average_parts, average_scores, predict_labels, scores_from_logits
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.feed import Feed
from fsseg_bench.engine.head_batch import affordable
from fsseg_bench.engine.inference import InferenceModel, levels_of, stack_features
from fsseg_bench.engine.merge import joined, needs_probabilities
from fsseg_bench.engine.needs import Announcer, FeatureKeys, Needs
from fsseg_bench.engine.reader import FeatureReader
from fsseg_bench.engine.results import ChunkResults, EpisodeResult, Labels, Scored, begin_counting
from fsseg_bench.engine.stopwatch import Stopwatch
from fsseg_bench.engine.transfer import fetch, send
from fsseg_bench.errors import LaterError
from fsseg_bench.machine import stopping
from fsseg_bench.method import Episode, Features
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.episodes import EpisodeTable
from fsseg_bench.protocol.side import Part, Side
from fsseg_bench.protocol.spec import RESOLUTIONS, Resolution
from fsseg_bench.protocol.table import Further
from fsseg_bench.records.info import Timings
from fsseg_bench.records.request import CacheDtype

T = TypeVar("T")
_SPENT = tuple(f.name for f in fields(Timings) if f.name.startswith("evaluate_"))


@dataclass(frozen=True)
class Setting:
    """How episodes are turned into counts."""

    size: int
    """Side of the input, in pixels; a plain number squashes images."""
    scales: tuple[float, ...] = (1.0,)
    """Query scales; more than one averages the softmax at the input size."""
    head_batch: int | None = 1
    """Episodes a call of ``predict`` at the most; None: by the size of their features and the memory of the device."""
    workers: int = 2
    """Threads that decode ahead; 0 decodes in the main thread."""
    kept_as: CacheDtype = "float32"
    """What features are rounded to."""
    counted: tuple[Resolution, ...] = RESOLUTIONS
    """Where pixels are counted: at the input size, at the query's native one."""
    boundary: float = 0.0
    """Width of the bands along outlines that are counted, as a share of the diagonal; 0: none."""

    def query_size(self, scale: float) -> Side:
        """Side of the query at ``scale``, in pixels (417 at 0.7 is 292, at 1.3 it is 542)."""
        return self.side.scaled(scale)

    @property
    def side(self) -> Side:
        """The side, which says how images come to the square."""
        return Side.of(self.size)


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
    truth: Sequence[tuple[int, ...]] = ()
    """For each episode the classes of its query's labels, where they are not those of the supports."""
    mask: str = ""
    """How support masks are changed (:func:`fsseg_bench.engine.feed.changed`)."""
    timings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SPENT, 0), init=False)
    """Seconds spent and things done so far, by their names in run.json."""

    def __post_init__(self) -> None:
        self._reader = FeatureReader(self.model, self.cache, self.setting.kept_as)
        query_sizes = [self.setting.query_size(scale) for scale in self.setting.scales]
        alone = self.model.merge is not None
        shown = self.table, self.further, self.setting.size, query_sizes, alone, self.truth, self.mask
        self._needs = Needs(self._reader, *shown)
        self._watch = Stopwatch(self.model.device)
        self._backend = backend_of(self.model.device)
        self._encoding = False
        self.head_batch = self.setting.head_batch

    def run(
        self,
        sink: Callable[[EpisodeResult], None],
        start: int = 0,
        progress: Progress | None = None,
        title: str = "evaluate",
    ) -> None:
        """Evaluates episodes ``start`` .. end in order and hands each result to ``sink``."""
        self.run_heads((self.model,), lambda results: sink(results[0]), start, progress, title)

    def run_heads(
        self,
        heads: Sequence[InferenceModel],
        sink: Callable[[tuple[EpisodeResult, ...]], None],
        start: int = 0,
        progress: Progress | None = None,
        title: str = "evaluate",
    ) -> None:
        """The same for several models that read this one's features; ``sink`` gets a result of each.

        Raises:
            Stopped: the process was told to end; ``sink`` has got whole chunks.
        """
        begin = time.perf_counter()
        progress = progress or Progress()
        classes = self.truth or self.table.classes
        try:
            with (
                Feed(self.source, self.setting.workers) as feed,
                progress.meter(title, len(self.table), start) as meter,
            ):
                chunks = self._chunks(feed, heads, start, progress.say)
                # a GPU computes the next chunk while the results of one come to the host and are written
                for results in delayed(chunks, 1 if self._backend.is_gpu else 0):
                    episodes = [one for one in results.read(classes) if one[0].episode >= start]
                    self._watch.add(results.spans, self.timings)
                    self.timings["evaluate_episodes"] += len(episodes)
                    for of_heads in episodes:
                        sink(of_heads)
                    meter.advance(len(episodes), self._rate(begin))
                    start = results.chunk.stop
                    stopping.check()
        finally:
            self.timings["evaluate_seconds"] += time.perf_counter() - begin

    def predict(self, episode: int) -> Tensor:
        """Predicted labels (S, S) uint8 of one episode at the input size, for pictures.

        On a GPU its whole chunk is computed, where the head batch is known, so that it is rounded as in :meth:`run`.
        """
        chunk = self._chunk(episode, (self.head_batch or 1) if self._backend.is_gpu else 1)
        size = (self.setting.size, self.setting.size)
        with Feed(self.source, 0) as feed:
            at_input = [feed.mask(key) for key in self._needs.labels(chunk, self.setting.size)]
            masks, *truth = send([self._masks(feed, chunk), *at_input], self.model.device)
            (scored,) = self._scores(feed, chunk, (self.model,), masks, truth)
        (labels,) = fetch([predict_labels(scored.scores, size)], self.model.device)()
        return labels[episode - chunk.start]

    def _chunk(self, i: int, size: int) -> range:
        """The episodes that are evaluated together with episode ``i``.

        Chunks begin at multiples of their size, so that a resumed evaluation makes the same ones as one in one go.
        """
        return range(i - i % size, min(i - i % size + size, len(self.table)))

    def _rate(self, begin: float) -> str:
        return f"{self.timings['evaluate_episodes'] / max(time.perf_counter() - begin, 1e-9):.1f} episodes/s"

    def _chunks(
        self, feed: Feed, heads: Sequence[InferenceModel], start: int, say: Callable[[str], None]
    ) -> Iterator[ChunkResults]:
        """The results of all chunks from that of episode ``start`` on, begun one by one."""
        announcer: Announcer | None = None
        while start < len(self.table):
            results = None
            try:
                self.head_batch = self.head_batch or self._measured_batch(feed, start)
                chunk = self._chunk(start, self.head_batch)
                announcer = announcer or Announcer(self._needs, feed, chunk.start)
                announcer.announce(chunk)
                results = self._begin(feed, chunk, heads)
            except Exception as error:
                if not self._backend.is_out_of_memory(error):
                    raise
                say(self._given_up(error, start))
            if results is None:
                # only here, since the error held what the chunk had taken
                self._backend.release_memory(self.model.device)
                continue
            yield results
            start = results.chunk.stop

    def _begin(self, feed: Feed, chunk: range, heads: Sequence[InferenceModel]) -> ChunkResults:
        """Gives a chunk to the device."""
        device, needs = self.model.device, self._needs
        with self._watch.measuring("evaluate_encode_seconds"):
            at_input, native = ([feed.mask(key) for key in needs.labels(chunk, s)] for s in (self.setting.size, None))
            masks, *truth = send([self._masks(feed, chunk), *at_input, *native], device)
        labels = Labels(truth[: len(chunk)], truth[len(chunk) :])
        scored = self._scores(feed, chunk, heads, masks, labels.input)
        with self._watch.measuring("evaluate_count_seconds"):
            counted, boundary = self.setting.counted, self.setting.boundary
            tensors = begin_counting(scored, labels, self.table.ways, self.setting.side, counted, boundary)
        arrived = fetch(tensors, device)  # after the last mark: a device that has made the copy has passed all marks
        names = [list(one.diagnostics) for one in scored]
        return ChunkResults(chunk, arrived, names, self._watch.taken(), counted, boundary > 0)

    def _measured_batch(self, feed: Feed, i: int) -> int:
        """How many episodes go through the head together, by the features of episode ``i``."""
        keys = self._needs.features(range(i, i + 1), max(self._needs.query_sizes))
        features = self._features(feed, keys)
        taken = sum(level.nbytes for one in features for level in levels_of(one))
        return affordable(taken, self._backend.free_memory(self.model.device))

    def _given_up(self, error: Exception, i: int) -> str:
        """Does with less memory from now on, and says so.

        Raises:
            LaterError: nothing is left to do without; from ``error``.
        """
        before = self.head_batch or 1  # one episode alone is there while the batch is measured
        if before > 1:
            self.head_batch = before // 2
        # features stay as they are: images are encoded in the same batches, and fewer features are kept on the device
        fewer = (self._encoding or before == 1) and self.cache.shrink()
        if before == 1 and not fewer:
            raise LaterError(
                f"episode {i}: out of memory on {self.model.device} with one episode at a time and no features kept "
                "there; --precision bf16, a smaller image, or a smaller backbone needs less"
            ) from error
        words = [f"{self.head_batch} episodes at a time in the head instead of {before}"] if before > 1 else []
        words += ["half as many features kept on the device"] if fewer else []
        return f"out of memory on {self.model.device}: from episode {i} on {', and '.join(words)}"

    def _scores(
        self, feed: Feed, chunk: range, heads: Sequence[InferenceModel], masks: Tensor, labels: Sequence[Tensor]
    ) -> list[Scored]:
        """For each head the scores of the chunk's episodes, and its diagnostics at scale 1.

        Without a scale of 1 they are those of the first scale. ``masks`` are the supports'; ``labels`` (S, S) those of
        the queries, which an oracle alone is shown.
        """
        truth = torch.stack(list(labels)) if any(head.reads_truth for head in heads) else None
        logits: list[list[Tensor]] = [[] for _ in heads]
        diagnostics: list[dict[str, Tensor]] = [{} for _ in heads]
        for scale in self.setting.scales:
            episode = self._episode(feed, chunk, scale, masks)
            for i, head in enumerate(heads):
                with self._watch.measuring("evaluate_predict_seconds"):
                    shown = replace(episode, query_labels=truth) if head.reads_truth else episode
                    head_logits, head_diagnostics = head.predict(shown)
                logits[i].append(head_logits)
                if scale == 1.0 or not diagnostics[i]:
                    diagnostics[i] = head_diagnostics
        scores = [self._decided(head.merge, by, chunk) for head, by in zip(heads, logits, strict=True)]
        return list(map(Scored, scores, diagnostics))

    def _decided(self, merge: str | None, logits: Sequence[Tensor], chunk: range) -> Tensor:
        """What decides the pixels of a chunk, from the logits at each scale."""
        averages = len(logits) > 1 or (merge is not None and needs_probabilities(merge))
        ways = 1 if merge is None else self.table.ways
        scores = self._averaged(logits, chunk, ways) if averages else scores_from_logits(logits[0])
        return scores if merge is None else joined(scores, ways, merge, probabilities=averages)

    def _averaged(self, logits: Sequence[Tensor], chunk: range, passes: int) -> Tensor:
        """The scores of all scales at the input size, of so many passes an episode."""
        side = self.setting.side
        if not side.pads:
            return average_scores(logits, (side, side))
        sizes = [self.source.image_size(self.table.queries[i]) for i in chunk for _ in range(passes)]
        sides = [self.setting.query_size(scale) for scale in self.setting.scales]
        return average_parts(logits, sides, side, [Part(height, width) for width, height in sizes])

    def _masks(self, feed: Feed, chunk: range) -> Tensor:
        """(B, N, K, S, S) uint8 of the supports, on the host."""
        size = self.setting.size
        masks = torch.stack([feed.mask(key) for key in self._needs.support_masks(chunk)])
        return masks.view(len(chunk), self.table.ways, self.table.shots, size, size)

    def _episode(self, feed: Feed, chunk: range, scale: float, masks: Tensor) -> Episode:
        """The chunk's episodes with their features."""
        table, side = self.table, self.setting.query_size(scale)
        with self._watch.measuring("evaluate_encode_seconds"):
            keys = self._needs.features(chunk, side)
            features = iter(self._features(feed, keys))
            queries, supports, unlabelled = (list(islice(features, len(kind))) for kind in keys)
            shape = (len(chunk), table.ways, table.shots)
            return Episode(
                support=stack_features(supports, shape),
                support_masks=masks,
                query=stack_features(queries, shape[:1]),
                size=(side, side),
                seeds=tuple(table.seed(i) for i in chunk),
                unlabelled=stack_features(unlabelled, (*shape[:2], -1)) if unlabelled else None,
            )

    def _features(self, feed: Feed, keys: FeatureKeys) -> list[Features]:
        """All features of ``keys``, in their order."""
        self._encoding = True  # and stays so where it fails
        features = self._reader.features(feed, [key for kind in keys for key in kind])
        self._encoding = False
        self.timings["evaluate_encoded_images"] = self._reader.encoded
        return features


def delayed(items: Iterable[T], count: int) -> Iterator[T]:
    """``items`` in order, each once ``count`` more were made; before an error those that were made."""
    held: deque[T] = deque()
    try:
        for item in items:
            held.append(item)
            if len(held) > count:
                yield held.popleft()
    except Exception:
        yield from held
        raise
    yield from held
