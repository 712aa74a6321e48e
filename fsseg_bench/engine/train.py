"""Episodic training that can be killed at any moment and resumed to the same result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fsseg_bench.data.training import TrainingBatch, TrainingStream
from fsseg_bench.engine.checkpoint import TrainingState, fill, fill_optimizer, fill_scaler, load_state, save_state
from fsseg_bench.engine.checks import checked_losses
from fsseg_bench.engine.device import autocast, backend_of, exact
from fsseg_bench.engine.distributed import Alone, share_of
from fsseg_bench.engine.history import HistoryStore
from fsseg_bench.engine.inference import fold_features, normalise
from fsseg_bench.engine.kept_states import Keeping
from fsseg_bench.engine.loader import load_batches
from fsseg_bench.engine.losses import StepLosses, read, stacked
from fsseg_bench.engine.optimise import build_optimizer, clip, prepare, set_rate
from fsseg_bench.engine.validation import Chooser
from fsseg_bench.errors import TrainingError
from fsseg_bench.machine import stopping
from fsseg_bench.method import ClassLabels, Episode, Features, History, Method
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.streams import seed_of
from fsseg_bench.recipe import Recipe
from fsseg_bench.recipe.steps import rate
from fsseg_bench.records.info import CHECKPOINT_FILE
from fsseg_bench.records.lines import Inspect, LineLog, Row
from fsseg_bench.records.request import Precision
from fsseg_bench.records.training import loss_row

_GPU_READS_EVERY = 20
"""Steps of a GPU between two reads of their losses; the CPU's are read at each step, since they are there."""

_CHECK_EVERY = 100  # steps after which several processes compare their parameters


def _lost(log: LineLog, start: int) -> str:
    """What to say of losses that a training cannot log again, since it goes on from its checkpoint."""
    why = f"{log.damage}" if log.damage else f"it has {log.rows} rows"
    return (
        f"{log.path.name}: {why}; the training goes on from its checkpoint at iteration {start}, and the logged losses "
        f"between are lost (scores do not depend on them)"
    )


@dataclass(frozen=True)
class Cadence:
    """When a checkpoint is written: whichever comes first; and always at the end. Results do not depend on it."""

    seconds: float = 60.0
    iterations: int = 1_000_000


class TrainingRecord(Protocol):
    """Where a training keeps its state and its log."""

    @property
    def folder(self) -> Path:
        """Named in messages."""

    @property
    def checkpoint(self) -> Path:
        """The file of the state."""

    @property
    def identity(self) -> str:
        """The hash that a state is known by."""

    def train_log(self, inspect: Inspect | None = None, until: Callable[[Row], bool] | None = None) -> LineLog:
        """The log, open for appending; rows from the first for which ``until`` is true are cut off."""

    def note(self, text: str) -> None:
        """Keeps what was found damaged and mended."""


@dataclass(eq=False)
class Trainer:
    """Trains one method by one recipe on one stream of training episodes."""

    method: Method
    episodes: TrainingStream
    recipe: Recipe
    seed: int
    device: torch.device
    precision: Precision = "fp32"
    workers: int = 0
    cadence: Cadence = field(default_factory=Cadence)
    deterministic: bool = True
    processes: Alone = field(default_factory=Alone)
    """Those that make the steps together; each encodes its share of the batch."""
    title: str = "train"
    """What progress calls it."""
    chooser: Chooser | None = None
    """Chooses the state that the training leaves; None: the last one."""
    watch: Callable[[Row], None] = lambda row: None
    """Is given each row of the log, once it is written."""
    keeping: Keeping | None = None
    """Keeps states on the way; nothing here reads them."""

    def __post_init__(self) -> None:
        self.method.to(self.device).to(memory_format=torch.channels_last)
        self._backend = backend_of(self.device)
        self._history = HistoryStore({}, self.device)
        self._read_every = _GPU_READS_EVERY if self._backend.is_gpu else 1
        self._unread: list[StepLosses] = []
        self._ends = False
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def run(self, record: TrainingRecord, progress: Progress | None = None) -> dict[str, float]:
        """Trains from the record's checkpoint, or from the start, to the recipe's last iteration.

        Returns:
            Timings of this call: seconds, and images a second (supports and queries).

        Raises:
            UserError: the loss is not finite (the last good checkpoint stays), or the checkpoint is damaged.
            Stopped: this process, or one that trains with it, was told to end; there is a checkpoint of the last step.
        """
        recipe = self.recipe
        prepare(self.method, recipe)
        optimizer = build_optimizer(self.method, recipe)
        state = load_state(record.checkpoint, record.identity) if record.checkpoint.exists() else None
        start = self._restore(optimizer, state, record.checkpoint)
        begin = saved = time.perf_counter()
        images = 0
        progress = progress or Progress()
        with (
            stopping.deferred(),
            exact(self.device, self.precision, deterministic=self.deterministic),
            record.train_log(loss_row, until=lambda row: row["iteration"] >= start) as log,
            progress.meter(self.title, recipe.iterations, start) as meter,
        ):
            if start and not self._looked(start):  # it was told to end while it looked
                raise stopping.stop()
            if log.rows < start:
                told = _lost(log, start)
                progress.say(f"{record.folder}: {told}")
                record.note(told)
            for iteration, batch in enumerate(self._batches(start, progress), start=start):
                self._attempt(optimizer, batch, iteration)
                done = iteration + 1
                now = time.perf_counter()
                due = now - saved >= self.cadence.seconds or done % self.cadence.iterations == 0
                ends = self._told_to_end()
                looks = self.chooser is not None and self.chooser.looks(done, recipe.iterations)
                keeps = self.keeping is not None and done in self.keeping.steps
                due = due or done == recipe.iterations or ends or looks or keeps
                if due or len(self._unread) >= self._read_every:
                    for step, row in read(self._unread, self.device):
                        images += step.images
                        log.append(row)
                        self.watch(row)
                        meter.advance(1, _note(row, images, begin))
                    self._unread.clear()
                    self._history.settle()
                if due:  # every loss so far has been read, so that what is saved comes from finite ones alone
                    log.sync()
                    if self.keeping is not None and keeps:  # before the checkpoint, from which no step is made again
                        self.keeping.keep(self.method, done)
                    looked = self._looked(done)
                    ends = ends or not looked
                    if looked or done < recipe.iterations:  # else a state that nobody chose would pass for the last
                        self._save(record, optimizer, done)
                    saved = now
                if ends:
                    raise stopping.stop()
        if self.chooser is not None:
            self.method.load_state_dict(self.chooser.best)
        seconds = time.perf_counter() - begin
        return {"train_seconds": seconds, "train_images_per_second": images / seconds if images else 0.0}

    def _looked(self, done: int) -> bool:
        """Whether all is known that is to be of the state after ``done`` steps; looks at it if need be."""
        chooser = self.chooser
        if chooser is None or not chooser.looks(done, self.recipe.iterations):
            return True
        return chooser.look(self.method, done)

    def assist(self) -> None:
        """Makes the steps that the first process runs and records, as one of the others.

        Raises:
            Stopped: as :meth:`run`.
        """
        prepare(self.method, self.recipe)
        optimizer = build_optimizer(self.method, self.recipe)
        start = self._restore(optimizer, None, Path(CHECKPOINT_FILE))
        with stopping.deferred(), exact(self.device, self.precision, deterministic=self.deterministic):
            for iteration, batch in enumerate(self._batches(start, Progress()), start=start):
                self.step(optimizer, batch, iteration)
                if self._told_to_end():
                    raise stopping.stop()
                if len(self._unread) >= self._read_every:
                    self._unread.clear()
                    self._history.settle()

    def _told_to_end(self) -> bool:
        """Whether the training ends after this step: several processes agreed on it in the step's exchange."""
        return self._ends or (self.processes.size == 1 and stopping.asked())

    def _restore(self, optimizer: torch.optim.Optimizer, state: TrainingState | None, file: Path) -> int:
        """Goes on from the first process's ``state``, which ``file`` holds; the steps done."""
        state = self.processes.first(state)
        if state is None:
            return 0
        fill(self.method, state.model, file)
        # in fp16 all steps so far may have been skipped, and then there are no momenta
        begun = state.iteration > 0 and not state.scaler and not self.method.learns_by_counting
        fill_optimizer(optimizer, state.optimizer, file, begun=begun)
        if state.history and not self.method.keeps_history:
            raise TrainingError(f"{file}: its 'history' is not of this method", "; {anew}")
        fill_scaler(self._scaler, state.scaler, file)
        torch.set_rng_state(state.rng)
        if self.chooser is not None:
            self.chooser.restore(state.choice, state.best)
        self._history = HistoryStore(state.history, self.device)
        return state.iteration

    def _save(self, record: TrainingRecord, optimizer: torch.optim.Optimizer, done: int) -> None:
        chooser, whole = self.chooser, done == self.recipe.iterations
        state = TrainingState(
            iteration=done,
            model=chooser.best if chooser and whole else self.method.state_dict(),
            optimizer=optimizer.state_dict(),
            rng=torch.get_rng_state(),
            history=self._history.on_host(),
            scaler=self._scaler.state_dict(),
            choice=chooser.state() if chooser else {},
            best=chooser.best if chooser and not whole else {},
            run=record.identity,
        )
        save_state(record.checkpoint, state)

    def _batches(self, start: int, progress: Progress) -> Iterator[TrainingBatch]:
        """This process's share of each step's episodes."""
        batch, pinned = self.recipe.batch, self._backend.is_gpu
        positions: Sequence[int] = range(start * batch, self.recipe.iterations * batch)
        own = share_of(batch, self.processes.rank, self.processes.size)
        if len(own) < batch:
            positions = [i for i in positions if i % batch in own]
        return load_batches(self.episodes, positions, len(own), self.workers, pinned=pinned, say=progress.say)

    def _attempt(self, optimizer: torch.optim.Optimizer, batch: TrainingBatch, iteration: int) -> None:
        """A step; where it fails because of a loss that was not finite and not yet read, that is what is told."""
        try:
            self.step(optimizer, batch, iteration)
        except Exception:
            with suppress(RuntimeError):  # a GPU that broke down gives no numbers either
                deque(read(self._unread, self.device))
            raise

    def step(self, optimizer: torch.optim.Optimizer, batch: TrainingBatch, iteration: int) -> None:
        """One step, without a wait for the device: its losses are read later, and it is made whatever they are."""
        seed = seed_of("train step", self.seed, iteration)  # of dropout and the like: resumable
        lr = rate(self.recipe, iteration)
        set_rate(optimizer, lr)
        facts = _joined(self.processes.collect(_facts(batch)))
        self._ends = facts.ends
        history = self._history.of(facts.keys) if self.method.keeps_history else None
        with autocast(self.device, self.precision), torch.set_grad_enabled(not self.method.learns_by_counting):
            parts = checked_losses(self.method.loss(self._episode(batch, facts, history, seed)))
            total = torch.stack([part.float() for part in parts.values()]).sum()
        values = stacked(parts, total)
        self._unread.append(StepLosses(iteration, lr, tuple(parts), values, facts.labels, facts.images))
        if self.method.learns_by_counting:
            return
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(total).backward()
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.processes.complete(trained)
        self._scaler.unscale_(optimizer)
        clip(self.method, self.recipe.clip)
        self._descend(optimizer)
        if history is not None:
            self._history.store(facts.keys, history)
        if (iteration + 1) % _CHECK_EVERY == 0 or iteration + 1 == self.recipe.iterations:
            self.processes.check_equal(trained)

    def _descend(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimiser's step; in fp16 none where a gradient is not finite, for which the scaler waits once."""
        if not self._scaler.is_enabled():
            optimizer.step()
            return
        before = self._scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        scales = torch.stack((before, self._scale())).double()
        self._unread[-1] = replace(self._unread[-1], scales=scales)

    def _scale(self) -> Tensor:
        """By how much losses are multiplied, on the device: the scaler's own ``get_scale`` would wait."""
        return self._scaler.scale(torch.ones((), device=self.device))

    def _episode(self, batch: TrainingBatch, facts: _Facts, history: History | None, seed: int) -> Episode:
        """The whole batch as the method's loss sees it, supports and queries encoded as the method wants it."""
        masks, labels = self._moved(batch.support_masks), self._moved(batch.query_label)
        with self.processes.encoding(self.method, seed):
            supports, queries, unlabelled = self._encoded(batch, masks)
        height, width = labels.shape[-2:]
        return Episode(
            support=self._whole(supports),
            support_masks=self.processes.whole(masks, self.recipe.batch),
            query=self._whole(queries),
            size=(height, width),
            seeds=facts.seeds,
            query_labels=self.processes.whole(labels, self.recipe.batch),
            class_labels=self._class_labels(batch),
            unlabelled=None if unlabelled is None else self._whole(unlabelled),
            history=history,
            classes=facts.classes,
        )

    def _encoded(self, batch: TrainingBatch, masks: Tensor) -> tuple[Features, Features, Features | None]:
        """Features of this process's share: supports, queries, and unlabelled images if there are any."""
        trunk = self.method.backbone
        supports, queries = self.method.encode_training(
            normalise(batch.support_images.flatten(0, 2), trunk, self.device),
            masks.flatten(0, 2),
            normalise(batch.query_image, trunk, self.device),
        )
        unlabelled: Features | None = None
        if batch.unlabelled is not None:
            images = normalise(batch.unlabelled.flatten(0, 2), trunk, self.device)
            unlabelled = fold_features(self.method.encode_unlabelled(images), batch.unlabelled.shape[:3])
        return fold_features(supports, masks.shape[:3]), queries, unlabelled

    def _whole(self, features: Features) -> Features:
        return self.processes.whole_features(features, self.recipe.batch)

    def _moved(self, tensor: Tensor) -> Tensor:
        return self._backend.to_device(tensor, self.device)

    def _class_labels(self, batch: TrainingBatch) -> ClassLabels | None:
        if batch.support_classes is None or batch.query_classes is None:
            return None
        maps = (batch.support_classes, batch.query_classes)
        return ClassLabels(*(self.processes.whole(self._moved(one), self.recipe.batch) for one in maps))


def _note(row: Row, images: int, begin: float) -> str:
    reference = f" (constant predictor {row['constant']:.4f})" if len(row["parts"]) == 1 else ""
    speed = images / max(time.perf_counter() - begin, 1e-9)
    return f"loss {row['loss']:.4f}{reference}, {speed:.1f} images/s"


class _Facts(NamedTuple):
    """What is known of a step's episodes without looking at them on a device."""

    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    classes: tuple[tuple[int, ...], ...]
    labels: list[int]
    """Pixels of the queries with each label 0..N."""
    images: int
    """Supports and queries."""
    ends: bool
    """Whether a process was told to end."""


def _facts(batch: TrainingBatch) -> _Facts:
    ways = batch.support_masks.shape[1]
    labels = torch.bincount(batch.query_label.flatten(), minlength=ways + 1)[: ways + 1].tolist()
    images = batch.query_image.shape[0] + batch.support_images.shape[:3].numel()
    return _Facts(batch.seeds, batch.keys, batch.classes, labels, images, stopping.asked())


def _joined(shares: Sequence[_Facts]) -> _Facts:
    """Of the whole batch, from those of its shares in their order."""
    seeds, keys, classes, labels, images, ends = zip(*shares, strict=True)
    pixels = [sum(counts) for counts in zip(*labels, strict=True)]
    joined = (tuple(chain(*seeds)), tuple(chain(*keys)), tuple(chain(*classes)))
    return _Facts(*joined, pixels, sum(images), any(ends))
