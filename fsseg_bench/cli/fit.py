"""What of a table a terminal can hold: labels go into a heading, folds are left out, and wide tables are split.

A number is never cut or wrapped, and what is left out is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from rich.cells import cell_len

from fsseg_bench.report.model import MISSING, Cell, Table
from fsseg_bench.report.parts import by_heading, parted, with_columns, without_common_labels

GAP = 2
"""Columns of a terminal between two columns of a table."""
_WIDE = 100
LABEL = 28
"""A longer label is wrapped before anything is left out."""


def fitted(table: Table, width: int) -> tuple[list[Table], list[str]]:
    """``table`` as tables that fit into ``width`` columns of a terminal, and sentences on what they leave out.

    In this order, as far as it is needed: a label that all rows share goes into the title; on a wide terminal the
    table is parted by shot; columns of folds that no row has a number in, those of folds whose mean is there, and
    those that the table can spare are left out; the rest is parted, by shot where that is enough.
    """
    if _fits(table, width):
        return [table], []
    made = without_common_labels(table)
    if width >= _WIDE and made.labels < len(made.columns) and not _fits(made, width):
        parts = by_heading(made)
        if all(_fits(part, width) for part in parts):
            return parts, []
    dropped: list[str] = []
    droppables: list[Callable[[Table], set[int]]] = [_empty_folds, _folds_with_mean]
    droppables += [partial(_spare, rank=rank) for rank in _ranks(table)]
    for droppable in droppables:
        if not _fits(made, width) and (gone := droppable(made)):
            folds = gone & _folds(made)
            dropped += [made.columns[i].title for i in sorted(gone - folds)]
            dropped += [f"{len(folds)} columns of single folds"] if folds else []
            made = with_columns(made, [i for i in range(len(made.columns)) if i not in gone])
    said = f"Not shown for want of space: {', '.join(dropped)}. A wider terminal, a file or a pipe shows all."
    fits = _fits(made, width) or made.labels == len(made.columns)
    parts = [made] if fits else parted(made, [own + GAP for own in _widths(made)], width + GAP)
    return parts, [said] if dropped else []


def cell_text(cell: Cell, table: Table) -> str:
    """What stands in a cell, with the mark of its footnote."""
    return f"{cell.text} ({table.mark(cell)})" if cell.notes else cell.text


def headings(table: Table, column: int) -> list[str]:
    """The headings of a column from the outermost on; empty where the column to its left has said them.

    Levels at which no column of the table has a heading are left out.
    """
    head = table.columns[column].head
    left = table.columns[column - 1].head if column > table.labels else ()
    used = [i for i in range(len(head)) if any(other.head[i] for other in table.columns)]
    return ["" if i < len(head) - 1 and head[: i + 1] == left[: i + 1] else head[i] for i in used]


def _fits(table: Table, width: int) -> bool:
    return sum(_widths(table)) + GAP * (len(table.columns) - 1) <= width


def _widths(table: Table) -> list[int]:
    """The columns that each column needs; of labels, with long ones wrapped."""
    widths = []
    for i, column in enumerate(table.columns):
        texts = [cell_text(row[i], table) for row in table.rows]
        if i < table.labels:
            texts = [text[:LABEL] for text in texts]
        widths.append(max(map(cell_len, (*texts, *column.head[:-1], *column.lines))))
    return widths


def _ranks(table: Table) -> list[int]:
    """What the table can spare, first the columns to leave out first."""
    return sorted({column.spare for column in table.columns if column.spare}, reverse=True)


def _spare(table: Table, rank: int) -> set[int]:
    return {i for i, column in enumerate(table.columns) if column.spare == rank}


def _empty_folds(table: Table) -> set[int]:
    return {i for i in _folds(table) if all(row[i].text == MISSING for row in table.rows)}


def _folds_with_mean(table: Table) -> set[int]:
    """The columns of folds at those shots at which every row with a number has a mean."""
    gone: set[int] = set()
    folds = _folds(table)
    for shot in {table.columns[i].facts.get("shot") for i in folds}:
        own = {i for i in folds if table.columns[i].facts.get("shot") == shot}
        means = [
            i
            for i, column in enumerate(table.columns)
            if column.facts.get("fold") == "mean" and column.facts.get("shot") == shot
        ]
        if all(_any_number(row, means) or not _any_number(row, own) for row in table.rows):
            gone |= own
    return gone


def _any_number(row: Sequence[Cell], places: Collection[int]) -> bool:
    return any(row[i].value is not None for i in places)


def _folds(table: Table) -> set[int]:
    return {i for i, column in enumerate(table.columns) if isinstance(column.facts.get("fold"), int)}
