"""The mean over a protocol's folds, and the score of each held-out class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind, Metric
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.frames.opening import (
    SCORE,
    SPREAD,
    chosen_runs,
    frame_of,
    metric_of,
    resolution_of,
    score_cells,
    settings_words,
    spread_cells,
)
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.intervals import Wanted
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.scored import ScoredRun

if TYPE_CHECKING:
    import pandas as pd


def means(
    root: Path | str | None = None,
    *,
    metric: Metric = "mean",
    resolution: Resolution | None = None,
    method: str | Sequence[str] | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    shot: int | None = None,
    way: int | None = None,
    seed: int | None = None,
    where: Mapping[str, Any] | None = None,
    interval: IntervalKind = "images",
    episodes: int | None = None,
) -> pd.DataFrame:
    """The mean over the folds of each protocol, with its interval: a row for each row of the tables of runs, and shot.

    Columns: ``method``, ``backbone``, ``settings`` (what tables say beside these), ``way``, ``shot``, ``folds`` (how
    many were finished), ``metric``, ``resolution``, ``iou``, ``iou_low``, ``iou_high`` (in percent, with the 95 %
    interval; NaN where a fold of the protocol is missing, and ``note`` says so), ``interval``, ``note``,
    ``protocol_label``, ``protocol_digest``, ``paths`` (the runs' folders, one a line), ``runs`` (how many runs the
    episodes of a fold are), ``run_sd``, ``run_min``, ``run_max`` (between the runs' means, in percent; NaN of one).

    Args:
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        metric: ``"mean"`` for mean-IoU over the held-out classes, ``"binary"`` for binary-IoU.
        resolution: where pixels are counted; None takes each protocol's headline.
        method: only runs of this method, or of these; this and what follows as for :func:`fsseg_bench.results`.
        dataset: only runs of this protocol.
        backbone: only runs with this backbone.
        shot: only K-shot runs.
        way: only N-way runs.
        seed: only runs with this training seed.
        where: only runs with these settings.
        interval: what the intervals are over.
        episodes: count each run's first episodes only.

    Raises:
        UserError: as :func:`fsseg_bench.results`; no such metric or resolution.
    """
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    collection = chosen_runs(root, method, filters, where, interval=interval, episodes=episodes)
    wanted = metric_of(metric)
    grouped = [
        (row, shots, tuple(runs[fold] for fold in sorted(runs)))
        for _, members in sorted(collection.by_rules.items())
        for row in group_rows(members, collection)
        for shots, runs in row.runs.items()
    ]
    whole = [Wanted(runs, wanted, resolution_of(runs[0], resolution)) for _, _, runs in grouped if _complete(runs)]
    collection.intervals.prepare(whole)
    rows = [_mean(*each, wanted, resolution_of(each[2][0], resolution), collection) for each in grouped]
    columns = ["method", "backbone", "settings", "way", "shot", "folds", "metric", "resolution", *SCORE]
    return frame_of(rows, [*columns, "protocol_label", "protocol_digest", "paths", *SPREAD], collection)


def _complete(runs: Sequence[ScoredRun]) -> bool:
    return len(runs) == len(runs[0].record.folds)


def _mean(
    row: Row, shot: int, runs: tuple[ScoredRun, ...], metric: Metric, resolution: Resolution, collection: Collection
) -> tuple[Any, ...]:
    settings = row.settings
    if _complete(runs):
        score = fmean(run.score(metric, resolution) for run in runs)
        cells = score_cells(score, collection.intervals.of(runs, metric, resolution))
    else:
        cells = score_cells(None, None, f"{len(runs)} of {len(runs[0].record.folds)} folds")
    return (
        *(row.method, row.backbone, row.variant, settings.way, shot, len(runs), metric, resolution, *cells),
        *(settings.protocol_label, settings.protocol_digest, "\n".join(str(run.record.folder) for run in runs)),
        *spread_cells(runs, metric, resolution, whole=_complete(runs)),
    )


def per_class(
    root: Path | str | None = None,
    *,
    resolution: Resolution | None = None,
    method: str | Sequence[str] | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    shot: int | None = None,
    way: int | None = None,
    seed: int | None = None,
    where: Mapping[str, Any] | None = None,
    interval: IntervalKind = "images",
    episodes: int | None = None,
) -> pd.DataFrame:
    """The IoU of each held-out class: a row for each finished run and class.

    Columns: ``method``, ``backbone``, ``settings``, ``way``, ``shot``, ``fold``, ``seed``, ``class_id`` (its label
    value), ``class_name``, ``resolution``, ``iou``, ``iou_low``, ``iou_high`` (in percent, with the 95 % interval),
    ``interval``, ``note``, ``episodes`` (those with the class among their ways), ``protocol_label``, ``path``.

    Args:
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        resolution: where pixels are counted; None takes each protocol's headline.
        method: only runs of this method, or of these; this and what follows as for :func:`fsseg_bench.results`.
        dataset: only runs of this protocol.
        backbone: only runs with this backbone.
        shot: only K-shot runs.
        way: only N-way runs.
        seed: only runs with this training seed.
        where: only runs with these settings.
        interval: what the intervals are over.
        episodes: count each run's first episodes only.

    Raises:
        UserError: as :func:`fsseg_bench.results`; no such resolution.
    """
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    collection = chosen_runs(root, method, filters, where, interval=interval, episodes=episodes)
    words = settings_words(collection)
    rows = [row for run in collection.done for row in _classes(run, resolution, words, collection)]
    columns = ["method", "backbone", "settings", "way", "shot", "fold", "seed", "class_id", "class_name", "resolution"]
    return frame_of(rows, [*columns, *SCORE, "episodes", "protocol_label", "path"], collection)


def _classes(
    run: ScoredRun, wanted: Resolution | None, words: Mapping[Path, str], collection: Collection
) -> list[tuple[Any, ...]]:
    s, folder, resolution = run.record.settings, run.record.folder, resolution_of(run, wanted)
    (intervals,) = collection.intervals.of_classes([run], resolution)
    return [
        (
            *(s.method, s.backbone, words[folder], s.way, s.shot, s.fold, s.seed, c, s.class_name(c), resolution),
            *score_cells(score, intervals[c]),
            *(int((run.counts.classes == c).any(axis=1).sum()), s.protocol_label, str(folder)),
        )
        for c, score in run.class_scores(resolution).items()
    ]
