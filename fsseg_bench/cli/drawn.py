"""Tables drawn on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from fsseg_bench.report.model import Table


def draw(tables: Sequence[Table], *, stderr: bool = False) -> None:
    """Draws ``tables`` on standard output, or on standard error."""
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    console = Console(stderr=stderr)
    for table in tables:
        drawn = Drawn(title=Text(table.title), caption=Text(table.caption), caption_justify="left")
        for i, column in enumerate(table.columns):
            drawn.add_column(Text(column.title), justify="left" if i < table.labels else "right")
        for row in table.rows:
            marks = [f" ({table.footnotes[cell.note]})" if cell.note else "" for cell in row]
            drawn.add_row(*(Text(cell.text + mark) for cell, mark in zip(row, marks, strict=True)))
        console.print(drawn)
        for note, mark in table.footnotes.items():
            console.print(Text(f"({mark}) {note}"))
