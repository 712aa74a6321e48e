"""Two shapes of one table: what a number is (published, measured, difference) as columns, or as lines of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from fsseg_bench.report.model import MISSING, Cell, Column, Table

Layout = Literal["auto", "columns", "lines"]
"""``auto`` takes lines for tables that would be too wide."""

_WIDEST = 12  # columns of numbers that a page or a terminal still holds


def arranged(table: Table, layout: Layout) -> Table:
    """``table`` in the layout; columns that all show one kind of number need no heading for it, and no lines."""
    kinds = [str(k) for k in dict.fromkeys(c.facts["number"] for c in table.columns if "number" in c.facts)]
    if len(kinds) == 1:
        return replace(table, title=f"{table.title}, {kinds[0]}", columns=tuple(map(_shallow, table.columns)))
    wide = len(table.columns) - table.labels > _WIDEST
    if not kinds or layout == "columns" or (layout == "auto" and not wide):
        return table
    return _lines(table, kinds)


def _lines(table: Table, kinds: Sequence[str]) -> Table:
    places = {
        kind: [i for i, column in enumerate(table.columns) if column.facts.get("number") == kind] for kind in kinds
    }
    heads = [column.head[-1] for column in table.columns[: table.labels]]
    labels = [i for i, head in enumerate(heads) if head != "settings"]
    settings = [i for i, head in enumerate(heads) if head == "settings"]
    columns = [
        *(_shallow(table.columns[i]) for i in labels),
        Column(("", "number")),
        *(_shallow(table.columns[i]) for i in settings),
        *(_shallow(table.columns[i]) for i in places[kinds[0]]),
    ]
    rows: list[tuple[Cell, ...]] = []
    shown: tuple[Cell, ...] = ()
    for row in table.rows:
        label = tuple(row[i] for i in labels)
        for kind in kinds:
            cells = tuple(row[i] for i in places[kind])
            line = (*label, Cell(kind), *(row[i] if kind != "published" else Cell("") for i in settings), *cells)
            if line == shown or all(cell.text == MISSING for cell in cells):
                continue
            shown = line if kind == "published" else shown
            rows.append(line)
    return replace(table, columns=tuple(columns), labels=len(labels) + 1 + len(settings), rows=tuple(rows))


def _shallow(column: Column) -> Column:
    """The column without the level of headings that becomes a label; of labels, without an empty one."""
    head = column.head[:-1] if "number" in column.facts else column.head[1:]
    facts = {key: value for key, value in column.facts.items() if key != "number"}
    return replace(column, head=head, facts=facts)
