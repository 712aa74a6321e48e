"""Finished runs predict again: the labels of chosen episodes, and counts for several values of one switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.cache import Budget, default_budget
from fsseg_bench.engine.counts import confusion
from fsseg_bench.engine.device import backend_of, describe, resolve_device
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.inference import InferenceModel, levels_of
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.open_run import OpenRun, RunPlaces, open_run
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.engine.switches import parse_switches
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.method import Features, Method
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.spec import RESOLUTIONS
from fsseg_bench.records.lines import Chain, LineLog, LinesError, read_lines
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.sweep import same_sweep, sweep_header, sweep_path
from fsseg_bench.storage.files import free_aside
from fsseg_bench.storage.json_text import plain
from fsseg_bench.storage.lock import FolderLock

_KEEP_NOTHING = Budget(0, 0)
_GPU_TOLERANCE = 0.01  # of the largest feature; bf16 has eight bits


def sweep(
    folder: Path,
    switch: str,
    values: Sequence[Any],
    places: RunPlaces | None = None,
    progress: Progress | None = None,
    opened: OpenSources | None = None,
) -> Path:
    """Writes ``sweep-<switch>.jsonl`` into a finished run's folder, or what is missing of it; returns the file.

    Images are encoded once for all values (as ``--set`` takes them) of the switch, which may change neither parameters
    nor features. A sweep of other values that is already there is moved aside.

    Raises:
        UserError: as :func:`fsseg_bench.engine.open_run.open_run`; unknown switch or wrong value; the switch changes
            parameters or features; code has changed and the run's counts do not come out again; the folder is in use.
    """
    found = open_run(folder, places, opened)
    wanted = _values(found, switch, values)
    with FolderLock(folder):
        return _sweep(found, switch, wanted, progress or Progress())


def _values(opened: OpenRun, switch: str, given: Sequence[Any]) -> list[Any]:
    """The values as the method takes them, each once; the run's own among them where it must be checked."""
    plan = opened.plan
    parsed = [parse_switches(plan.request.method, plan.cls, {switch: value})[switch] for value in given]
    if not parsed:
        raise UserError(f"no values of {switch} to sweep")
    return list(dict.fromkeys([*parsed, plan.switches[switch]] if opened.changed_code else parsed))


def _sweep(opened: OpenRun, switch: str, values: Sequence[Any], progress: Progress) -> Path:
    plan, run = opened.plan, opened.run
    path, header = sweep_path(run.folder, switch), plain(sweep_header(run, switch, values))
    chain = Chain(run.info.identity)
    try:
        existing = read_lines(path, chain)
    except LinesError as error:
        progress.say(f"{error}; it is moved aside and made again")
        path.rename(free_aside(path))
        existing = []
    if existing and not same_sweep(existing[0], header):
        path.rename(free_aside(path))
    elif len(existing) == len(plan.table) + 1:
        return path
    device = resolve_device(plan.request.device)
    keep_memory()
    base = InferenceModel.of(plan.request, plan.model.to(device), device)
    heads = [_head(plan, base, switch, value) for value in values]
    recorded = values.index(plan.switches[switch]) if opened.changed_code else None  # whose counts are known
    moved = 0
    with LineLog(path, chain) as log:
        if log.rows == 0:
            log.append({**header, "device": describe(device), "provenance": provenance()})

        def sink(results: tuple[EpisodeResult, ...]) -> None:
            nonlocal moved
            if recorded is not None:
                own = results[recorded]
                moved = max(moved, opened.check_counts(device, own.episode, input=own.input, native=own.native))
            log.append(_row(results))

        budget = default_budget(device, plan.request.cache_gib)
        evaluator = build_evaluator(plan, base, budget, run.info.timings.head_batch)
        evaluator.run_heads(heads, sink, start=log.rows - 1, progress=progress)
    if moved:
        progress.say(rounded_words(run.folder, moved))
    return path


def _row(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    counts: dict[str, Any] = {key: [getattr(r, key).flatten().tolist() for r in results] for key in RESOLUTIONS}
    return {"episode": results[0].episode, **counts}


def _head(plan: Plan, base: InferenceModel, switch: str, value: Any) -> InferenceModel:
    """The trained model with another value, on the features of ``base``."""
    values = {**plan.switches, switch: value}
    method, _ = assemble(plan.cls, plan.backbone, "none", values, plan.request.seed, plan.base_classes)
    try:
        method.load_state_dict(plan.model.state_dict())
    except RuntimeError:
        raise UserError(f"{switch}={value} changes the parameters of {plan.request.method}; train it instead") from None
    if not _encodes_alike(plan, base, method):
        raise UserError(f"{switch}={value} changes the features of {plan.request.method}; evaluate it with --eval-only")
    return base.with_head(method)


def _encodes_alike(plan: Plan, base: InferenceModel, method: Method) -> bool:
    """Whether one support of the first episode has the same features from ``base`` and from ``method`` itself."""
    rebuilt = InferenceModel.of(plan.request, method, base.device)
    size, classes, image = plan.protocol.image.side, plan.table.classes[0], plan.table.supports[0][0][0]
    pixels = [load_image(plan.source, image, size)]
    masks = [torch.from_numpy(support_mask(plan.source, image, classes, 1, size))]
    pairs = ((m.encode(pixels), m.encode_support(pixels, masks)) for m in (base, rebuilt))
    (plain_a, masked_a), (plain_b, masked_b) = pairs
    return _equal(plain_a[0], plain_b[0]) and _equal(masked_a[0], masked_b[0])


def _equal(first: Features, second: Features) -> bool:
    levels, others = levels_of(first), levels_of(second)
    return len(levels) == len(others) and all(map(_alike, levels, others))


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal on a CPU; a GPU may compute the same features in another order."""
    if first.shape != second.shape or not backend_of(first.device).is_gpu:
        return torch.equal(first, second)
    return bool((first - second).abs().max() <= _GPU_TOLERANCE * second.abs().max())


def predicted_labels(
    wanted: Mapping[Path, Sequence[int]],
    places: RunPlaces | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[tuple[Path, int], UInt8]:
    """What finished runs predict for some of their episodes: labels (S, S) uint8 by folder and episode.

    ``say`` is told of predictions that a GPU has rounded otherwise than recorded.

    Raises:
        UserError: as :func:`fsseg_bench.engine.open_run.open_run`; code has changed and a prediction is not the
            recorded one.
    """
    opened: OpenSources = {}
    labels = {}
    for folder, episodes in wanted.items():
        run = open_run(folder, places, opened)
        device = resolve_device(run.plan.request.device)
        keep_memory()
        model = InferenceModel.of(run.plan.request, run.plan.model.to(device), device)
        evaluator = build_evaluator(run.plan, model, _KEEP_NOTHING, run.run.info.timings.head_batch)
        moved = 0
        for episode in episodes:
            labels[folder, episode], pixels = _prediction(run, evaluator, episode)
            moved = max(moved, pixels)
        if moved:
            say(rounded_words(folder, moved))
    return labels


def rounded_words(folder: Path, pixels: int) -> str:
    """What to say where episodes come out otherwise than recorded by so many pixels at most."""
    return (
        f"{folder}: up to {pixels:,} pixel(s) of an episode are predicted otherwise than recorded, which is within "
        "what a GPU's rounding does"
    )


def _prediction(run: OpenRun, evaluator: Evaluator, episode: int) -> tuple[UInt8, int]:
    """Labels (S, S) uint8, and how many pixels at least differ from the record."""
    prediction, moved = evaluator.predict(episode), 0
    if run.changed_code:
        plan = run.plan
        truth = query_label(
            plan.source, plan.table.queries[episode], plan.table.classes[episode], plan.protocol.image.side
        )
        counts = confusion(prediction[None], torch.from_numpy(truth)[None], plan.table.ways)[0]
        moved = run.check_counts(evaluator.model.device, episode, input=counts)
    return prediction.numpy(), moved
