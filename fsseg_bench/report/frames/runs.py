"""One row for each score of each run, of each row of a table, and of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.collect import Collection, open_runs
from fsseg_bench.report.frames.opening import (
    SCORE,
    SPREAD,
    chosen_runs,
    differing_settings,
    frame_of,
    score_cells,
    settings_words,
    spread_cells,
)
from fsseg_bench.report.intervals import Wanted
from fsseg_bench.report.scored import ScoredRun

if TYPE_CHECKING:
    import pandas as pd

_PROTOCOL = ("protocol", "protocol_label", "protocol_version", "protocol_digest")
_WHICH = ("method", "backbone", "settings", "way", "shot", "fold", "seed")


def results(
    root: Path | str | None = None,
    *,
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
    """The long frame of the finished runs under ``root``: a row for each run, metric and resolution.

    Columns: ``method``, ``backbone``, ``settings`` (what tables say beside these), ``way``, ``shot``, ``fold``,
    ``seed``; ``metric`` (``mean``, ``binary``), ``resolution`` (``input``, ``native``); ``iou``, ``iou_low``,
    ``iou_high`` (in percent, 0..100, with the 95 % interval; NaN where there is none), ``interval`` (what it is over:
    ``images``, that is images and episodes, or ``episodes`` alone), ``note`` (why it is not the one asked for, or
    missing); ``episodes``, ``different_episodes`` and ``images`` (their numbers; NA where images are not known);
    ``iterations`` (NA where the training is unknown), ``weights``, ``protocol``, ``protocol_label``,
    ``protocol_version``, ``protocol_digest``, ``episode_digest``, ``identity``, ``status``, ``path``; ``runs`` (how
    many runs the episodes are), ``run_sd``, ``run_min``, ``run_max`` (between them, in percent; NaN of one). Then one
    column for each setting that tells runs of one method, backbone, way and shot apart, by its name: ``recipe.lr``,
    ``switches.steps``.

    ``frame.attrs`` holds ``unit`` (``"percent"``), ``skipped`` (the records that could not be used) and ``left_out``
    (how many runs did not fulfil the conditions).

    Args:
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        method: only runs of this method, or of these.
        dataset: only runs of this protocol: its label, name or file.
        backbone: only runs with this backbone.
        shot: only K-shot runs.
        way: only N-way runs.
        seed: only runs with this training seed.
        where: only runs with these settings, by dotted name or its last part: ``{"recipe.iterations": 0, "steps": 5}``.
        interval: ``"images"`` for intervals over images and episodes, ``"episodes"`` for those over other episodes of
            the same images, which are too narrow for any statement about other images. Records that do not know their
            images get the latter, and their ``interval`` says so.
        episodes: count each run's first episodes only.

    Raises:
        UserError: there is no such folder, no such kind of interval, or no run with what a condition asks for.
    """
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    return _results(chosen_runs(root, method, filters, where, interval=interval, episodes=episodes))


def results_of(folders: Sequence[Path]) -> pd.DataFrame:
    """The long frame of the finished runs in ``folders``; see :func:`results`."""
    return _results(open_runs(folders))


def _results(collection: Collection) -> pd.DataFrame:
    import pandas as pd

    resolutions = get_args(Resolution)
    scores = [
        Wanted((run,), m, resolution) for run in collection.done for m in run.metrics for resolution in resolutions
    ]
    collection.intervals.prepare(scores)
    words, runs = settings_words(collection), [run for (run,), _, _ in scores]
    rows = []
    for (run,), metric, resolution in scores:
        settings, images = run.record.settings, run.images and run.images.numbers
        stated = collection.intervals.of([run], metric, resolution)
        rows.append(
            (
                *_which(run, words),
                *(metric, resolution, *score_cells(run.score(metric, resolution), stated)),
                *(len(run.counts.classes), images and images.different, images and images.images),
                *(settings.iterations, settings.weights, *(getattr(settings, key) for key in _PROTOCOL)),
                *(settings.episode_digest, run.record.info.identity, run.record.status, str(run.record.folder)),
                *spread_cells([run], metric, resolution),
            )
        )
    columns = [*_WHICH, "metric", "resolution", *SCORE, "episodes", "different_episodes", "images"]
    columns += ["iterations", "weights", *_PROTOCOL, "episode_digest", "identity", "status", "path", *SPREAD]
    frame = frame_of(rows, columns, collection)
    frame = frame.astype(dict.fromkeys(("different_episodes", "images", "iterations"), "Int64"))
    for name, values in differing_settings(runs).items():
        frame[name] = pd.Series(values, index=frame.index)
    return frame


def _which(run: ScoredRun, words: Mapping[Path, str]) -> tuple[Any, ...]:
    s = run.record.settings
    return s.method, s.backbone, words[run.record.folder], s.way, s.shot, s.fold, s.seed
