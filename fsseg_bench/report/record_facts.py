"""A record in a few lines: what was run, how it ended, its scores, and with what it was made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, get_args

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.records.read import RecordError, StoredRun, read_run
from fsseg_bench.report.collect import open_runs
from fsseg_bench.report.seen import facts, seen_of_run, source_of
from fsseg_bench.report.words import METRIC_NAMES, always, checkpoints
from fsseg_bench.storage.json_text import plain


def record_facts(folder: Path) -> dict[str, Any]:
    """A record's facts in JSON's types. Scores are in percent, computed from the counts, with 95 % intervals.

    Raises:
        RecordError: the record cannot be used; says why.
    """
    run = read_run(folder)
    settings, info = run.settings, run.info
    return {
        "record": str(folder),
        "status": run.status,
        "reason": info.reason,
        "method": settings.method,
        "dataset": settings.protocol_label,
        "fold": run.fold,
        "folds": info.folds,
        "classes": [settings.class_name(label) for label in run.novel],
        "way": settings.way,
        "shot": settings.shot,
        "backbone": settings.backbone,
        "weights": settings.weights,
        "parameters": settings.parameters,
        "iterations": settings.iterations,
        "training_data": settings.training_data,
        "validation": info.document.get("validation"),
        "seed": settings.seed,
        "notes": list(filter(None, [*always(settings), checkpoints([settings])])),
        "seen": facts(seen_of_run(run), source_of(run)),
        "episodes": info.episodes.count if info.episodes else None,
        "scores": _scores(run) if run.status == "done" else {},
        "training_loss": str(info.training) if info.training else None,
        "created": info.created,
        "finished": info.timings.finished,
        "train_seconds": info.timings.train_seconds,
        "evaluate_seconds": info.timings.evaluate_seconds,
        "device": info.device,
        "devices": list(info.devices),
        "threads": info.provenance.threads,
        "versions": plain({"fsseg-bench": info.provenance.fsseg_bench, **info.provenance.packages}),
        "git": plain(info.provenance.git),
        "command": command_text(run),
        "command_repeats": run.repeats,
        "identity": info.identity,
    }


def command_text(run: StoredRun) -> str | None:
    """The command that the record holds; None where it was made in Python by an earlier version."""
    command = run.info.provenance.command
    return command if isinstance(command, str) or command is None else shlex.join(command)


def _scores(run: StoredRun) -> dict[str, Any]:
    """By resolution and metric."""
    collection = open_runs([run.folder])
    for warning in collection.warnings:
        raise RecordError(warning.message)
    (scored,) = collection.done
    scores: dict[str, Any] = {}
    for resolution in get_args(Resolution):
        for metric in scored.metrics:
            interval = collection.intervals.of([scored], metric, resolution).interval
            scores.setdefault(resolution, {})[METRIC_NAMES[metric]] = {
                "iou": 100 * scored.score(metric, resolution),
                "iou_low": None if interval is None else 100 * interval.low,
                "iou_high": None if interval is None else 100 * interval.high,
            }
            if run.runs > 1:
                of_runs = [100 * score for score in scored.run_scores(metric, resolution)]
                scores[resolution][METRIC_NAMES[metric]]["iou_of_runs"] = of_runs
    return scores
