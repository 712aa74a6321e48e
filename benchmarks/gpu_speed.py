"""How fast training and evaluation are, beside what the device can do and beside a loop without this package."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_limits import precisions_of, seconds_of
from benchmarks.gpu_rows import Row
from benchmarks.made_up_source import MadeUpSource
from benchmarks.methods import Case, build
from fsseg_bench.data.training import Extras, TrainingBatch, TrainingEpisodes
from fsseg_bench.engine.cache import GIB, Budget, FeatureCache
from fsseg_bench.engine.device import autocast, backend_of, exact
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel, fold_features, normalise
from fsseg_bench.engine.loader import load_batches
from fsseg_bench.engine.losses import read
from fsseg_bench.engine.made_up_data import MadeUpSource as Photographs
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.engine.train import Trainer
from fsseg_bench.method import Episode, Method
from fsseg_bench.protocol.episodes import EpisodeTable
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import Precision
from fsseg_bench.registry import find_method, method_names

_READ_EVERY = 20  # steps

Limits = Mapping[str, float]
"""Figures of :func:`benchmarks.gpu_limits.limits` by what they are of."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    size: int
    """Side of the images in pixels."""
    backbone: str
    batch: int
    """Training episodes a step."""
    steps: int
    """Training steps with the loader."""
    images: int
    """Different images of the evaluation."""
    episodes: int
    methods: Sequence[str]
    workers: int

    @classmethod
    def of(cls, *, toy: bool, workers: int) -> Scale:
        """The papers' sizes, or such as a CPU can do in a minute."""
        if toy:
            return cls(65, "resnet18-layer2", 2, 2, 8, 16, method_names()[:2], 0)
        return cls(417, "resnet50", 8, 60, 256, 2000, method_names(), workers)


def training(device: torch.device, scale: Scale, precisions: Sequence[Precision]) -> Iterator[Row]:
    """Images a second of the baseline's training: a bare loop, the engine's step on one batch, the engine's loader."""
    protocol = load_protocol("pascal5i")
    recipe = find_method("baseline").recipe(protocol, 1)
    recipe = replace(recipe, batch=scale.batch, iterations=scale.steps)
    source = Photographs(protocol.classes, scale.size)
    protocol = replace(protocol, image=replace(protocol.image, size=scale.size))
    pairs = {c: [f"{c} {i}" for i in range(8)] for c in protocol.base_classes(1)}
    length = scale.steps * scale.batch
    episodes = TrainingEpisodes(source, protocol, pairs, 1, 1, 1, recipe.augment, 0, length, Extras())
    backend = backend_of(device)
    for precision in precisions:
        backend.forget_peak(device)
        batch = next(load_batches(episodes, range(scale.batch), scale.batch, 0, pinned=backend.is_gpu, say=print))
        images = 2 * scale.batch
        fastest = images / _bare_step(device, scale, recipe, precision, batch, deterministic=False)
        bare = images / _bare_step(device, scale, recipe, precision, batch)
        peak = backend.peak_memory(device) / GIB
        own = images / _engine_step(device, scale, recipe, precision, episodes, batch)
        loaded = _with_loader(device, scale, recipe, precision, episodes)
        name = f"{scale.backbone}, {scale.size} px, batch {scale.batch} x 2, {precision}"
        yield Row("training", f"{name}: bare loop, one batch", bare, "images/s", note=f"{peak:.1f} GiB at the most")
        yield Row("training", f"{name}: the same, --nondeterministic", fastest, "images/s")
        limit = "the bare loop"
        yield Row("training", f"{name}: the engine's step, one batch", own, "images/s", share=own / bare, limit=limit)
        told = f"{scale.workers} loader processes"
        yield Row(
            "training", f"{name}: with the loader", loaded, "images/s", share=loaded / bare, limit=limit, note=told
        )


def _bare_step(
    device: torch.device,
    scale: Scale,
    recipe: Recipe,
    precision: Precision,
    batch: TrainingBatch,
    *,
    deterministic: bool = True,
) -> float:
    """Seconds of forward, backward and update on images that lie on the device, written without the engine."""
    method = build("baseline", scale.backbone).to(device).to(memory_format=torch.channels_last)
    prepare(method, recipe)
    optimizer = build_optimizer(method, recipe)
    images = torch.cat([batch.support_images.flatten(0, 2), batch.query_image])
    images = normalise(images, method.backbone, device)
    masks, labels = batch.support_masks.to(device), batch.query_label.to(device)
    count, shape = scale.batch, batch.support_images.shape[:3]

    def step() -> None:
        with autocast(device, precision):
            supports, queries = method.encode_training(images[:count], masks.flatten(0, 2), images[count:])
            episode = Episode(
                support=fold_features(supports, shape),
                support_masks=masks,
                query=queries,
                size=(scale.size, scale.size),
                seeds=batch.seeds,
                query_labels=labels,
            )
            total = torch.stack([part.float() for part in method.loss(episode).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    with exact(device, precision, deterministic=deterministic):
        return seconds_of(device, step)


def _trainer(
    device: torch.device, scale: Scale, recipe: Recipe, precision: Precision, episodes: TrainingEpisodes
) -> tuple[Trainer, torch.optim.Optimizer]:
    method = build("baseline", scale.backbone)
    trainer = Trainer(method, episodes, recipe, 0, device, precision, scale.workers)
    prepare(trainer.method, recipe)
    return trainer, build_optimizer(trainer.method, recipe)


def _engine_step(
    device: torch.device,
    scale: Scale,
    recipe: Recipe,
    precision: Precision,
    episodes: TrainingEpisodes,
    batch: TrainingBatch,
) -> float:
    """Seconds of the engine's step on one batch that lies in pinned memory."""
    trainer, optimizer = _trainer(device, scale, recipe, precision, episodes)
    numbers = itertools.count()
    with exact(device, precision):
        return seconds_of(device, lambda: trainer.step(optimizer, batch, next(numbers)))


def _with_loader(
    device: torch.device, scale: Scale, recipe: Recipe, precision: Precision, episodes: TrainingEpisodes
) -> float:
    """Images a second of the second half of a training, so that the loader's start does not count."""
    trainer, optimizer = _trainer(device, scale, recipe, precision, episodes)
    backend = backend_of(device)
    batches = load_batches(
        episodes,
        range(scale.steps * scale.batch),
        scale.batch,
        scale.workers,
        pinned=backend.is_gpu,
        say=lambda _: None,
    )
    half = scale.steps // 2
    begin = None
    with exact(device, precision):
        for number, batch in enumerate(batches):
            if number == half:
                backend.synchronise(device)
                begin = backend.mark(device)
            trainer.step(optimizer, batch, number)
            if (number + 1) % _READ_EVERY == 0:  # as a training does
                deque(read(trainer._unread, device), maxlen=0)
                trainer._unread.clear()
    spent = backend.seconds_between(begin, backend.mark(device))
    return 2 * scale.batch * (scale.steps - half) / spent


def evaluation(device: torch.device, scale: Scale, limits: Limits) -> Iterator[Row]:
    """Encoding beside the device's convolutions, and episodes whose features are not, or all, in the cache."""
    for precision in precisions_of(device):
        yield _encoding(device, scale, precision, limits.get(f"convolutions, {precision}"))
    for name in ("baseline", "panet", "biopt"):
        case = _shared_images(build(name, scale.backbone), device, scale)
        cache = FeatureCache(device, Budget(64 * GIB if backend_of(device).is_gpu else GIB, GIB))
        backend_of(device).forget_peak(device)
        first, again = (_episodes_a_second(case, cache, scale) for _ in range(2))
        peak = backend_of(device).peak_memory(device) / GIB
        told = f"{scale.episodes} 1-shot episodes over {scale.images} images, {peak:.1f} GiB at the most"
        yield Row("evaluation", f"{name}: nothing in the cache", first, "episodes/s", note=told)
        yield Row("evaluation", f"{name}: all in the cache", again, "episodes/s")


def _encoding(device: torch.device, scale: Scale, precision: Precision, limit: float | None) -> Row:
    """Images a second of the trunk alone, from images on the host; and its share of the convolutions' speed, where
    that was measured."""
    method = build("baseline", scale.backbone)
    model = InferenceModel(method, device, precision)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.backbone.eval()(torch.zeros(1, 3, scale.size, scale.size))
    operations = counter.get_total_flops()
    images = [torch.randint(0, 256, (3, scale.size, scale.size), dtype=torch.uint8) for _ in range(8)]
    with exact(device, precision):
        rate = len(images) / seconds_of(device, lambda: model.encode(images))
    share = None if limit is None else rate * operations / 1e12 / limit
    what = f"encode, {scale.backbone}, {scale.size} px, {precision} ({operations / 1e9:.0f} GFLOP an image)"
    return Row("evaluation", what, rate, "images/s", share=share, limit="the convolutions")


def _shared_images(method: Method, device: torch.device, scale: Scale) -> Case:
    """Episodes that share their images, as those of a fold do."""
    number, count = scale.images, scale.episodes
    table = EpisodeTable(
        ((1,),) * count,
        tuple(str(i % number) for i in range(count)),
        tuple(((str((i + 1 + i // number) % number),),) for i in range(count)),
    )
    case = Case.of(method, device, scale.size, 1, 1)
    return replace(case, table=table, further=(), source=MadeUpSource(scale.size))


def _episodes_a_second(case: Case, cache: FeatureCache, scale: Scale) -> float:
    setting = Setting(scale.size, head_batch=64 if backend_of(case.model.device).is_gpu else 1, workers=scale.workers)
    evaluator = Evaluator(case.model, case.source, case.table, setting, cache)
    evaluator.run(lambda result: None)
    return scale.episodes / evaluator.timings["evaluate_seconds"]


def heads(device: torch.device, scale: Scale) -> Iterator[Row]:
    """Milliseconds an episode of every method's ``predict``, one-shot and five-shot, features at hand."""
    for name, shots in itertools.product(scale.methods, (1,) if scale.workers == 0 else (1, 5)):
        method = build(name, scale.backbone if scale.workers == 0 else None)
        case = Case.of(method, device, scale.size, shots, 2 if scale.workers == 0 else 16)
        cache = FeatureCache(device, Budget(32 * GIB, GIB))
        setting = Setting(scale.size, head_batch=16 if backend_of(device).is_gpu else 1, workers=0)
        for _ in range(3):  # the first encodes, the second warms up
            evaluator = Evaluator(case.model, case.source, case.table, setting, cache, case.further)
            evaluator.run(lambda result: None)
        spent = evaluator.timings["evaluate_predict_seconds"] / len(case.table)
        yield Row("heads", f"{name}, {shots}-shot, {method.backbone.name}", 1000 * spent, "ms an episode")
