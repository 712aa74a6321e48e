"""The papers' tables as frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import any_runs
from fsseg_bench.report.find_papers import find_tables, papers
from fsseg_bench.report.frames.opening import UNIT
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
            (tuple(label.text for label in row[: made.labels]), column.head, note)
            for row in made.rows
            for column, cell in zip(made.columns, row, strict=True)
            for note in cell.notes
        ],
        "remarks": list(made.remarks),
        "skipped": [warning.message for warning in found.warnings],
    }
    return frame
