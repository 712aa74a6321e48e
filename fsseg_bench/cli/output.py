"""What commands print: tables drawn on a terminal and plain elsewhere, texts on the screen or into a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fsseg_bench.report.model import Table
from fsseg_bench.storage.files import write_atomic


def show(tables: Sequence[Table], *, stderr: bool = False) -> None:
    """Draws ``tables`` on a terminal, prints them as aligned text elsewhere; on standard output, or standard error."""
    if not (sys.stderr if stderr else sys.stdout).isatty():
        for table in tables:
            _print(table, stderr)
        return
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


def _print(table: Table, stderr: bool) -> None:
    from tabulate import tabulate

    if table.title:
        click.echo(f"{table.title}. {table.caption}", err=stderr)
    cells = [[cell.text for cell in row] for row in table.rows]
    heads = [column.title for column in table.columns]
    click.echo(tabulate(cells, heads, tablefmt="plain", disable_numparse=True), err=stderr)


def put(text: str, out: str | None) -> None:
    """Prints a text, or writes it to the file ``out`` and says so on standard error."""
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(Path(out), text)
        click.echo(f"wrote {out}", err=True)
