"""The board: a page with one line for each row and shot of all runs and packs, to be filtered and sorted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.cells import MeasuredCells
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.html.page import METHOD, escape, folded, page
from fsseg_bench.report.html.tables import table_html
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.seen import marks, seen_of_row
from fsseg_bench.report.words import METRIC_NAMES
from fsseg_bench.version import __version__ as VERSION

FILTERS = ("dataset", "way", "shot", "method", "backbone", "whose", "seen")
"""The columns that the page's script filters by."""
HERE = "here"
"""Whose a record is that came in no pack."""


def board_html(
    collection: Collection,
    *,
    title: str = "fsseg-bench board",
    metric: Metric = "mean",
    resolution: Resolution | None = None,
) -> str:
    """The page as text; all of it is there without its script.

    A line has the mean over the folds of one row at one shot, where all folds are there. Nothing is ranked: rows of
    several protocols and of unlike pretraining stand in one table.

    Args:
        collection: the runs.
        title: the heading, plain text.
        metric: of the scores.
        resolution: where pixels are counted; None takes each protocol's headline.
    """
    head = (*FILTERS, "settings")
    columns = [*(Column((name,)) for name in head), Column((METRIC_NAMES[metric],), {"metric": metric})]
    lines = tuple(_lines(collection, metric, resolution))
    caption = (
        "Percent, the mean over the folds of a protocol; a line without all folds has no number. Nothing is ranked."
    )
    table = Table(name="board", title="All rows", columns=tuple(columns), rows=lines, labels=len(head), caption=caption)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    packs = f", {len(collection.packs)} packs" if collection.packs else ""
    about = f"Made {when} by fsseg-bench {VERSION} from {len(collection.done)} finished runs{packs}."
    skipped = "".join(f"<li>{escape(warning.message)}</li>" for warning in collection.warnings)
    bar = f'<div class="filters" data-filters="{" ".join(FILTERS)}" hidden></div>'
    return page(
        title,
        f'<p class="caption">{escape(about)}</p>',
        [
            ("board", "Board", bar + table_html(table) if lines else ""),
            ("skipped", "Skipped", f"<ul>{skipped}</ul>" if skipped else ""),
            ("numbers", "Numbers", folded("How each number was made", METHOD)),
        ],
    )


def _lines(collection: Collection, metric: Metric, resolution: Resolution | None) -> Iterator[tuple[Cell, ...]]:
    for rules, runs in sorted(collection.by_rules.items()):
        rows = group_rows(runs, collection)
        folds = max((run.record.folds for run in runs), key=len)
        cells = MeasuredCells(collection, resolution or runs[0].record.settings.headline, folds)
        cells.prepare(rows, [metric], [metric])
        for row in rows:
            for shot in sorted(row.runs):
                texts = (rules.label, rules.way, shot, row.method, row.backbone, *_about(row), _settings(row))
                labels = (Cell(printable(str(text))) for text in texts)
                yield (*labels, cells.at(row.runs[shot], "mean", metric))


def _settings(row: Row) -> str:
    """What a row says of its settings, without whose it is, which has a column."""
    owner = f"by {row.all_runs[0].record.owner}"
    return "; ".join(part for part in row.variant.split("; ") if part != owner) or "-"


def _about(row: Row) -> tuple[str, str]:
    """Whose a row is, and what was seen for it."""
    seen = "; ".join(marks(seen_of_row(row))) or "nothing of note"
    return row.all_runs[0].record.owner or HERE, seen
