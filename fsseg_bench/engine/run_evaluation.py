"""The evaluation of a run: the counts of its episodes, and what its record says of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fsseg_bench.engine.cache import GIB, Budget, FeatureCache, default_budget
from fsseg_bench.engine.device import backend_of, describe
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.panels import draw_panels
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.run_device import default_workers
from fsseg_bench.machine import stopping
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.scoring import binary_iou, boundary_iou, mean_iou
from fsseg_bench.protocol.spec import RESOLUTIONS, Protocol
from fsseg_bench.records.counts import row_inspector
from fsseg_bench.records.lines import Inspect
from fsseg_bench.records.predictions import EpisodeLogs, prediction_inspector, prediction_row
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import RunRecord


def evaluate(
    plan: Plan, record: RunRecord, device: torch.device, progress: Progress, share: Share
) -> dict[str, dict[str, float]]:
    """Counts what is not counted yet, and finishes the record; the scores in [0, 1] by resolution and metric.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run.execute`.
        Stopped: likewise.
    """
    request = plan.request
    record.update(status="evaluating", device=describe(device))
    model = InferenceModel.of(request, plan.model.to(device), device)
    backend_of(device).release_memory(device)  # what the training left, before free memory is measured
    budget = default_budget(device, request.cache_gib, share)
    evaluator = build_evaluator(plan, model, budget, record.info.timings.head_batch, share)
    ways, size = plan.table.ways, plan.protocol.image.size
    with EpisodeLogs(record, _inspector(plan), prediction_inspector(ways, size)) as logs:
        for damage in logs.damage:
            told = f"{damage}; evaluated again from episode {logs.rows}"
            progress.say(f"{record.folder}: {told}")
            record.note(told)

        def sink(result: EpisodeResult) -> None:
            if backend_of(device).is_gpu and evaluator.head_batch != record.info.timings.head_batch:
                record.update(timings={"head_batch": evaluator.head_batch})  # with which a stopped run goes on
            logs.append(result.row(), prediction_row(result.episode, result.prediction.numpy(), ways))

        try:
            with stopping.deferred():
                evaluator.run(sink, start=logs.rows, progress=progress)
        except stopping.Stopped:
            record.update(timings=record.info.timings.added(**evaluator.timings))
            raise
    rows = record.rows()
    scores = _scores(rows, plan.settings.novel, plan.settings.runs or 1)
    record.update(
        diagnostics=_mean_diagnostics(rows),
        scores=scores,
        timings={
            **record.info.timings.added(**evaluator.timings),
            "cache_gib": {"device": budget.device / GIB, "host": budget.host / GIB},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    if request.panels:
        draw_panels(plan, rows, record.predictions(), record.folder / "panels", request.panels)
    record.update(status="done", reason=None)
    return scores


def _inspector(plan: Plan) -> Inspect:
    """What makes a row of the episode log one of this run."""
    size, source, table = plan.protocol.image.size, plan.source, plan.table

    def pixels(i: int) -> dict[str, int]:
        width, height = source.image_size(table.queries[i])
        return {"input": size * size, "native": width * height}

    return row_inspector(table.ways, plan.protocol.novel_classes(plan.request.fold), table, pixels)


def build_evaluator(
    plan: Plan, model: InferenceModel, budget: Budget, head_batch: int | None = None, share: Share = ALONE
) -> Evaluator:
    """The evaluator of ``model`` on the plan's episodes, as the request wants it; features within ``budget``.

    ``head_batch`` is what the run has used so far on a GPU, where it is known: the same batches round alike.
    """
    setting = setting_of(plan.request, plan.protocol, model.device, share)
    if head_batch and backend_of(model.device).is_gpu:
        setting = replace(setting, head_batch=min(head_batch, setting.head_batch or head_batch))
    return Evaluator(model, plan.source, plan.table, setting, FeatureCache(model.device, budget), plan.further)


def setting_of(request: RunRequest, protocol: Protocol, device: torch.device, share: Share = ALONE) -> Setting:
    """How the request wants episodes to be turned into counts."""
    return Setting(
        size=protocol.image.side,
        kept_as=request.cache_dtype,
        boundary=protocol.scoring.boundary,
        scales=request.scales,
        head_batch=request.head_batch or (None if backend_of(device).is_gpu else 1),
        workers=default_workers(request, device, share),
    )


def _scores(rows: Sequence[dict[str, Any]], novel: Sequence[int], runs: int) -> dict[str, dict[str, float]]:
    """Both metrics at both resolutions, in [0, 1]: for people; tables compute them from the counts again."""
    classes = np.asarray([row["classes"] for row in rows])
    side = classes.shape[1] + 1
    scores: dict[str, dict[str, float]] = {}
    for resolution in RESOLUTIONS:
        counts = np.asarray([row[resolution] for row in rows], dtype=np.int64).reshape(-1, side, side)
        scores[resolution] = {
            "mean_iou": mean_iou(counts, classes, novel, runs),
            "binary_iou": binary_iou(counts, runs),
        }
        if f"{resolution}_boundary" in rows[0]:
            bands = np.asarray([row[f"{resolution}_boundary"] for row in rows], dtype=np.int64)
            scores[resolution]["boundary_iou"] = boundary_iou(bands.reshape(*classes.shape, 3), classes, novel, runs)
    return scores


def _mean_diagnostics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each diagnostic's mean over the episodes (a number or a list), rounded to six digits."""
    names = {name for row in rows for name in row.get("diagnostics", {})}
    means: dict[str, Any] = {}
    for name in sorted(names):
        values = np.asarray([row["diagnostics"][name] for row in rows], dtype=np.float64)
        means[name] = np.round(values.mean(axis=0), 6).tolist()
    return means
