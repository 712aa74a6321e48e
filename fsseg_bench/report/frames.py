"""The paper's tables as pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, Resolution, find_runs
from fsseg_bench.report.find_papers import find_tables, papers
from fsseg_bench.report.intervals import Intervals
from fsseg_bench.report.model import Table
from fsseg_bench.report.paper import paper_table

if TYPE_CHECKING:
    import pandas as pd


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
    number: ``frame["1-shot", "mean", "published"]``. NaN where there is no number. ``frame.attrs``
    holds ``notes`` (row labels, column and text of each footnote), ``remarks`` on the whole table, ``caption`` and
    ``skipped`` (records that could not be used). Intervals are in :func:`fsseg_bench.results`.

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
