"""Tables drawn on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from fsseg_bench.cli.fit import GAP, LABEL, fitted, headings
from fsseg_bench.report.model import RANKS, Cell, Table

_RANKED = ("", "bold", "underline")
_INDENT = 2
_RULED = Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
"""A rule under the headings, and between groups of rows."""


def draw(tables: Sequence[Table], *, stderr: bool = False) -> None:
    """Draws tables as they fit the terminal; on standard output, or standard error."""
    console = Console(stderr=stderr, highlight=False)
    blank = False
    for table in tables:
        parts, left_out = fitted(table, console.width)
        for part in parts:
            if blank:
                console.print()
            blank = True
            _put(console, part)
        ranks = RANKS.format(second="underlined") if table.ranked else ""
        caption = " ".join(filter(None, (table.caption, ranks)))
        if caption or left_out:
            console.print()
        for text in (*left_out, caption):
            _line(console, text)
        for remark in table.remarks:
            _line(console, remark, "dim")


def _put(console: Console, table: Table) -> None:
    """A table that fits, with its footnotes."""
    if table.title:
        console.print(Text(table.title, "bold"))
    console.print(_drawn(table))
    for note, mark in table.footnotes.items():
        _line(console, f"({mark}) {note}")


def _line(console: Console, text: str, style: str = "") -> None:
    """A paragraph; its later lines are indented, so that the next one is seen to begin."""
    if text:
        for i, line in enumerate(Text(text).wrap(console, max(console.width - _INDENT, 10))):
            line.rstrip()
            console.print(Text(" " * _INDENT * bool(i)) + line, style=style)


def _drawn(table: Table) -> Drawn:
    drawn = Drawn(box=_RULED, show_edge=False, padding=(0, GAP // 2), collapse_padding=True, pad_edge=False)
    columns = [_texts(table, i) for i in range(len(table.columns))]
    for i in range(len(table.columns)):
        number = i >= table.labels
        head = Text("\n".join(_head(table, i)), "bold", justify="right" if number else "left")
        short = max((cell_len(text.plain) for text in columns[i]), default=0) <= LABEL
        drawn.add_column(head, no_wrap=number or (i == 0 and short), overflow="fold")
    for r, cells in enumerate(zip(*columns, strict=True)):
        if r and table.spans.get((r, _merged(table)), 0):
            drawn.add_section()
        drawn.add_row(*cells)
    return drawn


def _head(table: Table, column: int) -> list[str]:
    """The lines of a heading; innermost headings end in the same line."""
    *outer, _ = headings(table, column)
    lines = table.columns[column].lines
    return [*outer, *[""] * (max(len(other.lines) for other in table.columns) - len(lines)), *lines]


def _merged(table: Table) -> int:
    """The outermost column with a heading over several rows; -1: none has one."""
    return min((i for (_, i), span in table.spans.items() if span > 1), default=-1)


def _texts(table: Table, column: int) -> list[Text]:
    """The cells of a column; numbers end in one line, and their marks stand behind it."""
    texts = [
        _text(row[column], table) if table.spans.get((r, column), 1) else Text() for r, row in enumerate(table.rows)
    ]
    if column < table.labels:
        return texts
    marks = [len(f" ({table.mark(row[column])})") if row[column].notes else 0 for row in table.rows]
    widest = max(marks, default=0)
    for text, mark in zip(texts, marks, strict=True):
        text.pad_right(widest - mark)
    full = max((cell_len(text.plain) for text in (*texts, *map(Text, _head(table, column)))), default=0)
    for text in texts:
        text.pad_left(full - cell_len(text.plain))
    return texts


def _text(cell: Cell, table: Table) -> Text:
    value, plus_minus, spread = cell.text.partition(" ± ")
    text = Text.assemble((value, _RANKED[cell.rank]), plus_minus + spread)
    if cell.notes:
        text.append(f" ({table.mark(cell)})", "dim")
    return text
