"""What a run costs, from a few measured steps on made-up images: an estimate, made in seconds."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import torch

from fsseg_bench.data.base_images import BaseImages
from fsseg_bench.data.training import Extras, TrainingEpisodes, TrainingStream
from fsseg_bench.engine.cache import Budget, FeatureCache, default_budget
from fsseg_bench.engine.device import backend_of, exact
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.loader import load_batches
from fsseg_bench.engine.made_up_data import MadeUpSource
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.engine.run_device import default_workers
from fsseg_bench.engine.run_evaluation import setting_of
from fsseg_bench.engine.stage_plan import title_of
from fsseg_bench.engine.stage_run import built_network
from fsseg_bench.engine.train import Trainer
from fsseg_bench.method import Method, Stage
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable, Further
from fsseg_bench.protocol.training import TrainingRules
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import RunRequest

LEFT_OUT = (
    "reading and decoding images, drawing pictures, and what other programs take of the machine; the first steps are "
    "slower than later ones"
)
"""What an estimate knows nothing of, in words."""
_SECONDS = 1.5  # enough to measure one kind of step
_MOST_STEPS = 6
_STEP_SECONDS = 4.0  # that a training step may take while it is measured; two are made at least
_EPISODES = 16  # of the first evaluation, which does not count, where the device's memory decides how many go together
_PASSES = 3  # what an image costs in training, in passes of the encoder: forward, and backward twice that


@dataclass(frozen=True)
class StageSpeed:
    """Measured time of the training of a stage."""

    step: float
    """Seconds a step."""
    images: int
    """How many of the step's images were measured, from which the whole step is scaled."""
    batch: int
    """How many it has."""


@dataclass(frozen=True)
class Speed:
    """Measured times and sizes of one method under one protocol."""

    step: float
    """Seconds a training step; 0 where nothing is trained."""
    step_episodes: int
    """How many of the step's episodes were measured, from which the whole step is scaled."""
    encode: float
    """Seconds a new image in evaluation."""
    episode: float
    """Seconds an episode in evaluation, once its images are encoded."""
    images: int
    """Images of an episode that shares none with another."""
    image_bytes: int
    """Memory that the features of an image take while they are kept."""
    peak_bytes: int
    """The most memory that was taken: on a GPU by the steps, on a CPU by the whole process so far; 0 where the system
    does not say."""
    cache_bytes: int
    """Memory that may be spent on keeping features."""
    stages: Mapping[str, StageSpeed] = field(default_factory=dict)
    """Of what is trained before the method, by title."""

    def evaluation(self, episodes: int, images: int | None) -> float:
        """Seconds an episode of a run of ``episodes`` with ``images`` different images; None: all are different.

        Where the features of all do not fit into the memory, each episode is taken to encode all of its own.
        """
        if not episodes:
            return 0.0
        if images is None or images * self.image_bytes > self.cache_bytes:
            images = episodes * self.images
        return self.episode + self.encode * images / episodes

    def memory(self, episodes: int, images: int | None, side_by_side: int = 1) -> int:
        """Bytes at the most, where so many runs share the memory for features."""
        different = episodes * self.images if images is None else images
        return self.peak_bytes + min(different * self.image_bytes, self.cache_bytes // side_by_side)


def different_images(
    table: EpisodeTable, further: tuple[Further, ...], scales: tuple[float, ...], *, masked: bool
) -> int:
    """How many images an evaluation encodes when it keeps all features.

    A query counts once a scale; a support once, or with ``masked`` once for each set of classes and way. The images
    without masks of ``further`` are taken for other ones.
    """
    queries = {(image, scale) for image in table.queries for scale in scales}
    supports = {
        (image, classes, way) if masked else (image, 1.0)
        for classes, ways in zip(table.classes, table.supports, strict=True)
        for way, images in enumerate(ways)
        for image in images
    }
    without = {image for ways in further for images in ways for image in images}
    return len(queries | supports) + len(without)


def measure(
    model: Method,
    request: RunRequest,
    protocol: Protocol,
    recipe: Recipe,
    device: torch.device,
    stages: Sequence[Stage] = (),
    backbone: str = "",
) -> Speed:
    """Measures a few training steps and episodes of ``model``, of which copies do the work, and steps of its stages,
    whose networks are on ``backbone``.

    Raises:
        Exception: whatever the method raises on made-up images, or the machine for want of memory.
    """
    source, rules = MadeUpSource(protocol.classes, protocol.image.size), protocol.training(request.fold)
    keep_memory()
    backend = backend_of(device)
    backend.forget_peak(device)
    with torch.random.fork_rng(devices=[]):
        times, images, size = _evaluation(model, request, protocol, device, source)
        step, batch = 0.0, recipe.batch
        if recipe.iterations:
            batch = recipe.batch if backend.is_gpu else _affordable(recipe, images, times[0])
            smaller = replace(recipe, batch=batch)
            step = _training(model, request, rules, smaller, device) * recipe.batch / batch
        before = {title_of(one): _stage(one, backbone, request, rules, device, times[0]) for one in stages}
    peak = backend.peak_memory(device)
    backend.release_memory(device)
    budget = default_budget(device, request.cache_gib)
    return Speed(step, batch, *times, images, size, peak, budget.device + budget.host, before)


def _affordable(recipe: Recipe, images: int, encode: float) -> int:
    """How many episodes of a training step are measured: as many as take about as long as they may; two at least where
    there are two, since batch-norms need them."""
    expected = max(_PASSES * encode * images, 1e-9)
    return min(recipe.batch, max(2, int(_STEP_SECONDS / expected)))


def _training(model: Method, request: RunRequest, rules: TrainingRules, recipe: Recipe, device: torch.device) -> float:
    shot = recipe.train_shots or request.shot
    extras = Extras(model.reads_class_labels, model.unlabelled_images)
    needed = request.train_way * (shot + 1 + model.unlabelled_images) + 1
    pairs = {c: [f"{c} {i}" for i in range(needed)] for c in rules.base}
    length = _MOST_STEPS * recipe.batch
    episodes = TrainingEpisodes(
        _made_up(rules),
        rules.protocol,
        pairs,
        rules.fold,
        request.train_way,
        shot,
        recipe.augment,
        request.seed,
        length,
        extras,
    )
    return _steps(copy.deepcopy(model), episodes, request, recipe, device)


def _stage(
    stage: Stage,
    backbone: str,
    request: RunRequest,
    rules: TrainingRules,
    device: torch.device,
    encode: float,
) -> StageSpeed:
    """Of a network with random numbers: what it costs does not depend on them."""
    recipe = stage.recipe
    batch = recipe.batch if backend_of(device).is_gpu else _affordable(recipe, 1, encode)
    network = built_network(stage, backbone, "none", request, rules)
    images = [str(i) for i in range(batch)]
    length = _MOST_STEPS * batch
    source, seed = _made_up(rules), request.seed
    stream = BaseImages(source, rules.protocol, images, rules.fold, recipe.augment, seed, length)
    seconds = _steps(network, stream, request, replace(recipe, batch=batch), device)
    return StageSpeed(seconds * recipe.batch / batch, batch, recipe.batch)


def _made_up(rules: TrainingRules) -> MadeUpSource:
    return MadeUpSource(rules.protocol.classes, rules.protocol.image.size)


def _steps(model: Method, stream: TrainingStream, request: RunRequest, recipe: Recipe, device: torch.device) -> float:
    """Seconds a step of a model that is trained for it."""
    trainer = Trainer(model, stream, recipe, request.seed, device, request.precision)
    prepare(model, recipe)
    optimizer = build_optimizer(model, recipe)
    batches = load_batches(stream, range(len(stream)), recipe.batch, 0, pinned=False, say=lambda _: None)
    watch = _Watch()
    with exact(device, request.precision, deterministic=not request.nondeterministic):
        while watch.goes_on:
            begin = time.perf_counter()
            batch = next(batches)
            loaded = time.perf_counter()
            trainer.step(optimizer, batch, watch.steps)
            backend_of(device).synchronise(device)
            watch.add(loading=loaded - begin, computing=time.perf_counter() - loaded)
    loading, computing = watch.mean("loading"), watch.mean("computing")
    if backend_of(device).is_gpu and (
        workers := default_workers(request, device)
    ):  # processes load while the GPU computes
        return max(computing, loading / workers)
    return loading + computing


def _evaluation(
    model: Method, request: RunRequest, protocol: Protocol, device: torch.device, source: MadeUpSource
) -> tuple[tuple[float, float], int, int]:
    """Seconds a new image and an episode beside; images an episode; bytes of an image's features."""
    ready = InferenceModel.of(request, model, device)
    setting = replace(setting_of(request, protocol, device), workers=0)
    images, count = _numbers(), setting.head_batch or _EPISODES
    watch = _Watch()
    while watch.goes_on:
        cache = FeatureCache(device, Budget(2**62, 2**62))
        table, further = _episodes(images, count, request, protocol, model.unlabelled_images)
        evaluator = Evaluator(ready, source, table, setting, cache, further)
        evaluator.run(lambda _: None)
        count, spent = evaluator.head_batch or count, evaluator.timings
        encoded, episodes = spent["evaluate_encoded_images"], spent["evaluate_episodes"]
        watch.add(
            encode=spent["evaluate_encode_seconds"] / encoded,
            episode=(spent["evaluate_predict_seconds"] + spent["evaluate_count_seconds"]) / episodes,
        )
    each = len(request.scales) + request.way * (request.shot + model.unlabelled_images)
    return (watch.mean("encode"), watch.mean("episode")), each, cache.used // cache.count


class _Watch:
    """Times of steps of one kind. The first sets things up and does not count, so that two are made at least."""

    def __init__(self) -> None:
        self.steps = 0
        self._times: dict[str, list[float]] = {}
        self._begin = time.perf_counter()

    @property
    def goes_on(self) -> bool:
        """Whether another step should be measured."""
        long = time.perf_counter() - self._begin > _SECONDS
        return self.steps < _MOST_STEPS and not (self.steps > 1 and long)

    def add(self, **seconds: float) -> None:
        """One more step, and how long its parts took."""
        self.steps += 1
        for name, value in seconds.items():
            self._times.setdefault(name, []).append(value)

    def mean(self, name: str) -> float:
        """Seconds of a part."""
        return fmean(self._times[name][1:])


def _numbers() -> Iterator[str]:
    number = 0
    while True:
        yield str(number)
        number += 1


def _episodes(
    images: Iterator[str], count: int, request: RunRequest, protocol: Protocol, unlabelled: int
) -> tuple[EpisodeTable, tuple[Further, ...]]:
    """Episodes that share no image."""
    ways, shots = range(request.way), range(request.shot)
    classes = tuple(protocol.novel_classes(request.fold)[: request.way])
    table = EpisodeTable(
        classes=(classes,) * count,
        queries=tuple(next(images) for _ in range(count)),
        supports=tuple(tuple(tuple(next(images) for _ in shots) for _ in ways) for _ in range(count)),
    )
    further = tuple(tuple(tuple(next(images) for _ in range(unlabelled)) for _ in ways) for _ in range(count))
    return table, further if unlabelled else ()
