"""Pandas frames: one row for each score of each run, and the papers' tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind, Metric
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, any_runs, find_runs, open_runs
from fsseg_bench.report.find_papers import find_tables, papers
from fsseg_bench.report.intervals import Wanted
from fsseg_bench.report.paper import paper_table

if TYPE_CHECKING:
    import pandas as pd


UNIT = "percent"
"""Of every score that frames hold: 0..100. Records hold counts, and the statistics compute fractions of them."""


def results(root: Path | str | None = None, *, interval: IntervalKind = "images") -> pd.DataFrame:
    """The long frame of all finished runs under ``root`` (None: the default results folder).

    One row for each run, metric (``mean``, ``binary``) and resolution (``input``, ``native``). Columns:
    ``protocol``, ``protocol_label``, ``protocol_version``, ``protocol_digest``, ``method``, ``backbone``, ``way``,
    ``shot``, ``fold``, ``seed``, ``metric``, ``resolution``, ``iou``, ``iou_low``, ``iou_high`` (in percent, 0..100,
    with the 95 % interval; NaN where there is none), ``interval`` (what it is over: ``images``, that is images and
    episodes, or ``episodes`` alone), ``note`` (why it is not the one asked for, or missing), ``episodes``,
    ``different_episodes`` and ``images`` (their numbers; NA where images are not known), ``episode_digest``,
    ``status``, ``path``. ``frame.attrs["unit"]`` is ``"percent"``, and ``frame.attrs["skipped"]`` names the records
    that could not be used.

    Args:
        root: the folder.
        interval: ``"images"`` for intervals over images and episodes, ``"episodes"`` for those over other episodes of
            the same images, which are too narrow for any statement about other images. Records that do not know their
            images get the latter, and their ``interval`` says so.

    Raises:
        UserError: there is no such folder, or no such kind of interval.
    """
    if interval not in get_args(IntervalKind):
        raise UserError(f"interval {interval!r}: use one of {', '.join(get_args(IntervalKind))}")
    return _frame(find_runs(root, interval=interval))


def results_of(folders: Sequence[Path]) -> pd.DataFrame:
    """The long frame of the finished runs in ``folders``; see :func:`results`."""
    return _frame(open_runs(folders))


def table(
    name: int | str,
    root: Path | str | None = None,
    *,
    resolution: Resolution | None = None,
    episodes: int | None = None,
    interval: IntervalKind = "images",
    papers_path: Path | str | None = None,
) -> pd.DataFrame:
    """One table of a paper, in the paper's shape: published, measured and their difference, in percent.

    Rows are indexed by ``backbone`` and ``method`` (before them ``protocol`` where a table has several, after them
    ``scales`` in Table 5 and ``settings`` where runs need telling apart). Columns are shot, fold or mean, and which
    number: ``frame["1-shot", "mean", "published"]``. NaN where there is no number. ``frame.attrs`` holds ``unit``
    (``"percent"``), ``notes`` (row labels, column and text of each footnote), ``remarks`` on the whole table,
    ``caption`` and ``skipped`` (records that could not be used). Intervals are in :func:`fsseg_bench.results`.

    Args:
        name: ``"biopt:1"`` (or ``1``), ..., as ``fsseg-bench list tables`` shows them.
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs`` where there is one.
        resolution: where pixels are counted; None takes the protocol's headline.
        episodes: count each run's first episodes only.
        interval: what the caption says intervals are over, as for :func:`fsseg_bench.results`.
        papers_path: a folder with further papers' tables.

    Raises:
        UserError: no such table, a name of several, or ``root`` is given and does not exist.
    """
    wanted = find_tables([str(name)], papers(papers_path))
    if len(wanted) > 1:
        raise UserError(f"{name} means {len(wanted)} tables: {', '.join(t.full_name for t in wanted)}; give one")
    found = any_runs(root, episodes=episodes, interval=interval)
    made = paper_table(wanted[0], found, Measured(found), resolution=resolution)
    frame = made.frame()
    frame.attrs = {
        "unit": UNIT,
        "title": made.title,
        "caption": made.caption,
        "notes": [
            (tuple(label.text for label in row[: made.labels]), column.head, cell.note)
            for row in made.rows
            for column, cell in zip(made.columns, row, strict=True)
            if cell.note
        ],
        "remarks": list(made.remarks),
        "skipped": [warning.message for warning in found.warnings],
    }
    return frame


_COPIED = (
    *("protocol", "protocol_label", "protocol_version", "protocol_digest"),
    *("method", "backbone", "way", "shot", "fold", "seed"),
)
_MEASURED = (
    *("metric", "resolution", "iou", "iou_low", "iou_high", "interval", "note"),
    *("episodes", "different_episodes", "images", "episode_digest", "status", "path"),
)


def _frame(collection: Collection) -> pd.DataFrame:
    import pandas as pd

    metrics, resolutions = get_args(Metric), get_args(Resolution)
    scores = [Wanted((run,), m, resolution) for run in collection.done for m in metrics for resolution in resolutions]
    collection.intervals.prepare(scores)
    rows = []
    for (run,), metric, resolution in scores:
        settings, images = run.record.settings, run.images and run.images.numbers
        stated = collection.intervals.of([run], metric, resolution)
        low, high = (100 * end for end in stated.interval[:2]) if stated.interval else (None, None)
        rows.append(
            (
                *(getattr(settings, key) for key in _COPIED),
                *(metric, resolution, 100 * run.score(metric, resolution), low, high, stated.kind, stated.note),
                *(len(run.counts.classes), images and images.different, images and images.images),
                *(settings.episode_digest, run.record.status, str(run.record.folder)),
            )
        )
    frame = pd.DataFrame(rows, columns=[*_COPIED, *_MEASURED])
    frame = frame.astype({"iou_low": float, "iou_high": float, "different_episodes": "Int64", "images": "Int64"})
    frame.attrs["unit"] = UNIT
    frame.attrs["skipped"] = [warning.message for warning in collection.warnings]
    return frame
