"""What commands print: tables drawn on a terminal and as Markdown elsewhere, texts on the screen or into a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from fsseg_bench.report.model import Table
from fsseg_bench.storage.files import write_atomic

Form = Literal["table", "markdown", "latex", "csv"]
"""``table``: drawn on a terminal, Markdown elsewhere."""


def put_tables(tables: Sequence[Table], form: Form = "table", out: str | None = None) -> None:
    """Prints tables, or writes them to the file ``out`` and says so on standard error."""
    if form == "table" and drawn(out):
        from fsseg_bench.cli.drawn import draw

        draw(tables)
        return
    put(tables_text(tables, form), out)


def drawn(out: str | None) -> bool:
    """Whether tables are drawn: on a terminal, not into a file."""
    return out is None and sys.stdout.isatty()


def tables_text(tables: Sequence[Table], form: Form) -> str:
    """Tables as text; ends with a newline."""
    if form == "csv":
        from fsseg_bench.report.text import to_csv

        return to_csv(tables)
    if form == "latex":
        from fsseg_bench.report.latex import to_latex

        return "\n".join(map(to_latex, tables))
    from fsseg_bench.report.text import to_markdown

    return "\n".join(map(to_markdown, tables))


def show(tables: Sequence[Table], *, stderr: bool = False) -> None:
    """Draws ``tables`` on a terminal, prints them as aligned text elsewhere; on standard output, or standard error."""
    if (sys.stderr if stderr else sys.stdout).isatty():
        from fsseg_bench.cli.drawn import draw

        draw(tables, stderr=stderr)
        return
    for table in tables:
        _print(table, stderr)


def _print(table: Table, stderr: bool) -> None:
    from tabulate import tabulate

    if table.title:
        click.echo(". ".join(filter(None, (table.title, table.caption))), err=stderr)
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
