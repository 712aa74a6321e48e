"""One run from its plan to its record: train, evaluate, score, picture."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsseg_bench.data.training import Extras, TrainingEpisodes
from fsseg_bench.engine.cache import GIB, Budget, FeatureCache, default_budget
from fsseg_bench.engine.checkpoint import load_state, load_trained
from fsseg_bench.engine.device import describe, resolve_device
from fsseg_bench.engine.evaluate import EpisodeResult, Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.panels import draw_panels
from fsseg_bench.engine.plan import Plan, RunRequest
from fsseg_bench.engine.progress import Progress
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.protocol.unlabelled import further_of_table
from fsseg_bench.records.files import read_lines
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.training import training_summary

_GPU_HEAD_BATCH = 16
_MOST_WORKERS = 8


def execute(plan: Plan, progress: Progress | None = None, cadence: Cadence | None = None) -> RunRecord:
    """Does what is left to do of a run; a finished run is returned as it is.

    Raises:
        UserError: the folder holds another run, no such device, the loss diverged, a file is damaged, a full disk.
            What was recorded before stays, and the same command goes on from there.
    """
    progress = progress or Progress()
    request = plan.request
    device = resolve_device(request.device)
    with RunRecord.create(
        results_root(request.out), plan.settings, passed=passed_settings(request), fresh=request.fresh
    ) as record:
        if record.status == "done":
            progress.say(f"{record.folder}: already finished")
            return record
        record.keep_table(plan.table)
        record.update(weights=plan.weights.as_dict())
        try:
            _train(plan, record, device, progress, cadence)
            _evaluate(plan, record, device, progress)
        except UserError as error:
            record.update(status="failed", reason=str(error))
            raise
    return record


def passed_settings(request: RunRequest) -> dict[str, Any]:
    """What the user gave explicitly: the fields that differ from their defaults."""
    default = RunRequest(request.method, request.dataset)
    names = request.__dataclass_fields__
    given = {name: getattr(request, name) for name in names if getattr(request, name) != getattr(default, name)}
    return {"method": request.method, "dataset": request.dataset, **given}


def default_workers(request: RunRequest) -> int:
    """Loader workers: as asked, else one for each core, at most eight."""
    return request.workers if request.workers is not None else min(os.cpu_count() or 1, _MOST_WORKERS)


def _train(plan: Plan, record: RunRecord, device: torch.device, progress: Progress, cadence: Cadence | None) -> None:
    request, recipe = plan.request, plan.recipe
    done = load_state(record.checkpoint) if recipe.iterations and record.checkpoint.exists() else None
    if request.eval_only is not None:
        load_trained(plan.model, Path(request.eval_only))
    elif done is not None and done.iteration >= recipe.iterations:
        plan.model.load_state_dict(done.model)
    elif recipe.iterations:
        if plan.weights.source == "none" and recipe.freeze != "none":
            progress.say(f"recipe.freeze={recipe.freeze} holds random numbers: the weights are none")
        record.update(status="training", device=describe(device))
        trainer = Trainer(
            plan.model,
            _training_episodes(plan),
            recipe,
            seed=request.seed,
            device=device,
            precision=request.precision,
            workers=default_workers(request) if device.type == "cuda" else (request.workers or 0),
            cadence=cadence,
        )
        timings = trainer.run(record, progress)
        record.update(timings={**timings, **_added(record.info["timings"], train_seconds=timings["train_seconds"])})
    if recipe.iterations:
        record.update(training=training_summary(read_lines(record.train_path)))


def _training_episodes(plan: Plan) -> TrainingEpisodes:
    request, recipe = plan.request, plan.recipe
    return TrainingEpisodes(
        plan.source,
        plan.protocol,
        plan.index.train_pairs(request.fold),
        request.fold,
        request.way,
        recipe.train_shots or request.shot,
        recipe.augment,
        request.seed,
        recipe.iterations * recipe.batch,
        Extras(plan.cls.reads_class_labels, plan.model.unlabelled_images),
    )


def _evaluate(plan: Plan, record: RunRecord, device: torch.device, progress: Progress) -> None:
    request = plan.request
    record.update(status="evaluating", device=describe(device))
    model = InferenceModel(plan.model.to(device), device, request.precision)
    budget = default_budget(device, request.cache_gib)
    evaluator = build_evaluator(plan, model, budget)
    with record.episode_log() as log:

        def sink(result: EpisodeResult) -> None:
            log.append(result.row())

        evaluator.run(sink, start=log.rows, progress=progress)
    timings = evaluator.timings
    rows = read_lines(record.episodes_path)
    record.update(
        diagnostics=_mean_diagnostics(rows),
        scores=_scores(rows, plan.protocol.novel_classes(request.fold)),
        timings={
            **_added(
                record.info["timings"],
                evaluate_seconds=timings.total,
                evaluate_encode_seconds=timings.encode,
                evaluate_predict_seconds=timings.predict,
                evaluate_count_seconds=timings.count,
                evaluate_episodes=timings.episodes,
                evaluate_encoded_images=timings.encoded_images,
            ),
            "cache_gib": {"device": budget.device / GIB, "host": budget.host / GIB},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    if request.panels:
        draw_panels(plan, evaluator, rows, record.folder / "panels", request.panels)
    record.update(status="done", reason=None)


def _added(stored: Mapping[str, Any], **spent: float) -> dict[str, float]:
    """Timings of this session on top of those of earlier ones."""
    return {name: stored.get(name, 0) + value for name, value in spent.items()}


def build_evaluator(plan: Plan, model: InferenceModel, budget: Budget) -> Evaluator:
    """The evaluator of ``model`` on the plan's episodes, as the request wants it; features within ``budget``."""
    request = plan.request
    setting = Setting(
        size=plan.protocol.image.size,
        scales=request.scales,
        head_batch=request.head_batch or (1 if model.device.type == "cpu" else _GPU_HEAD_BATCH),
        workers=default_workers(request),
    )
    count = plan.model.unlabelled_images
    further = further_of_table(plan.table, plan.index.test_pairs(request.fold), count) if count else ()
    return Evaluator(model, plan.source, plan.table, setting, FeatureCache(model.device, budget), further)


def _scores(rows: Sequence[dict[str, Any]], novel: Sequence[int]) -> dict[str, dict[str, float]]:
    """Both metrics at both resolutions, in [0, 1]: for people; tables compute them from the counts again."""
    classes = np.asarray([row["classes"] for row in rows])
    side = classes.shape[1] + 1
    scores = {}
    for resolution in ("input", "native"):
        counts = np.asarray([row[resolution] for row in rows], dtype=np.int64).reshape(-1, side, side)
        scores[resolution] = {"mean_iou": mean_iou(counts, classes, novel), "binary_iou": binary_iou(counts)}
    return scores


def _mean_diagnostics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each diagnostic's mean over the episodes (a number or a list), rounded to six digits."""
    names = {name for row in rows for name in row.get("diagnostics", {})}
    means: dict[str, Any] = {}
    for name in sorted(names):
        values = np.asarray([row["diagnostics"][name] for row in rows], dtype=np.float64)
        means[name] = np.round(values.mean(axis=0), 6).tolist()
    return means
