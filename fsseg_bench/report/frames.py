"""The paper's tables as pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsseg_bench.errors import unknown
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.blocks import PAPER_TABLES, Measured
from fsseg_bench.report.collect import Collection, Resolution, find_runs
from fsseg_bench.report.intervals import Intervals
from fsseg_bench.report.model import Table
from fsseg_bench.report.paper import paper_table

if TYPE_CHECKING:
    import pandas as pd


def table(
    number: int | str,
    root: Path | str | None = None,
    *,
    resolution: Resolution | None = None,
    episodes: int | None = None,
    interval: IntervalKind = "images",
) -> pd.DataFrame:
    """One of the paper's tables, 1 to 5, in the paper's shape: published, measured and their difference, in percent.

    Rows are indexed by ``backbone`` and ``method`` (before them ``protocol`` where a table has several, after them
    ``scales`` in Table 5 and ``settings`` where runs need telling apart). Columns are shot, fold or mean, and which
    number: ``frame["1-shot", "mean", "published"]``. NaN where there is no number. ``frame.attrs``
    holds ``notes`` (row labels, column and text of each footnote), ``remarks`` on the whole table, ``caption`` and
    ``skipped`` (records that could not be used). Intervals are in :func:`fsseg_bench.results`.

    Args:
        number: 1..5.
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs`` where there is one.
        resolution: where pixels are counted; None takes the protocol's headline.
        episodes: count each run's first episodes only.
        interval: what the caption says intervals are over, as for :func:`fsseg_bench.results`.

    Raises:
        UserError: no such table, or ``root`` is given and does not exist.
    """
    if str(number) not in PAPER_TABLES:
        raise unknown("table", str(number), PAPER_TABLES)
    found = any_runs(root, episodes=episodes, interval=interval)
    made = paper_table(PAPER_TABLES[str(number)], found, Measured(found), resolution=resolution)
    frame = made.frame()
    frame.attrs = {
        "title": made.title,
        "caption": made.caption,
        "notes": _notes(made),
        "remarks": list(made.remarks),
        "skipped": [warning.message for warning in found.warnings],
    }
    return frame


def _notes(made: Table) -> list[tuple[tuple[str, ...], tuple[str, ...], str]]:
    labels = [tuple(cell.text for cell in row[: made.labels]) for row in made.rows]
    return [
        (label, column.head, cell.note)
        for label, row in zip(labels, made.rows, strict=True)
        for column, cell in zip(made.columns, row, strict=True)
        if cell.note
    ]


def any_runs(
    root: Path | str | None = None, *, episodes: int | None = None, interval: IntervalKind = "images"
) -> Collection:
    """The runs under ``root``; none where the default folder does not exist, since published numbers need no runs.

    Raises:
        UserError: ``root`` is given and there is no such folder, or as :func:`find_runs`.
    """
    folder = results_root(root)
    if root is None and not folder.is_dir():
        return Collection(folder, (), (), (), intervals=Intervals(interval))
    return find_runs(root, episodes=episodes, interval=interval)
