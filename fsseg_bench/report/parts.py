"""Tables made narrower or shorter, for a terminal or a page: without a common label, by columns, by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from fsseg_bench.report.model import Table


def with_columns(table: Table, kept: Sequence[int], **changes: Any) -> Table:
    """The table with the columns at these positions alone, and ``changes`` of other fields."""
    labels = sum(i < table.labels for i in kept)
    columns = tuple(table.columns[i] for i in kept)
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, columns=columns, labels=labels, rows=rows, **changes)


def without_common_labels(table: Table) -> Table:
    """The table with each label that all of several rows share in its title, in place of a column."""
    common = {
        i: table.rows[0][i].text
        for i in range(table.labels)
        if len(table.rows) > 1
        and len({(row[i].text, row[i].notes) for row in table.rows}) == 1
        and table.rows[0][i].text
        and not table.rows[0][i].notes
    }
    if len(common) == table.labels:
        return table
    kept = [i for i in range(len(table.columns)) if i not in common]
    named = {i: table.columns[i].head[-1] for i, text in common.items() if text not in table.title}
    said = [
        common[i] if common[i].startswith(head.removesuffix("s")) else f"{head} {common[i]}"
        for i, head in named.items()
    ]
    return with_columns(table, kept, title=", ".join(filter(None, (table.title, *said))))


def parted(table: Table, widths: Sequence[float], limit: float) -> list[Table]:
    """The table by its columns of numbers: one for each heading above the last, or as many as fit.

    Args:
        table: with columns of numbers.
        widths: what each column takes, with the space beside it.
        limit: what there is for a part, its labels included. A part has one column of numbers at least.
    """
    labels = list(range(table.labels))
    free = limit - sum(widths[: table.labels])
    return [with_columns(table, [*labels, *part]) for part in _parts(table, widths, free)]


def by_heading(table: Table) -> list[Table]:
    """A part for each outermost heading of numbers, which its title says in place of a level of headings."""
    return [_titled(part, table) for part in parted(table, [0.0] * len(table.columns), 0.0)]


def _titled(part: Table, whole: Table) -> Table:
    heading = part.columns[part.labels].head[0]
    if len(part.columns) == len(whole.columns) or not heading:
        return part
    columns = tuple(replace(column, head=column.head[1:]) for column in part.columns)
    return replace(part, name=f"{part.name}-{heading}", title=f"{part.title}, {heading}", columns=columns)


def _parts(table: Table, widths: Sequence[float], free: float) -> Iterator[list[int]]:
    for _, same in groupby(range(table.labels, len(table.columns)), key=lambda i: table.columns[i].head[:-1][:1]):
        part: list[int] = []
        for i in same:
            if part and sum(widths[j] for j in part) + widths[i] > free:
                yield part
                part = []
            part.append(i)
        yield part
