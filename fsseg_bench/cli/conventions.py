"""``fsseg-bench conventions``: what each way to score is worth on the same predictions."""

from __future__ import annotations

from typing import Any

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import selected, selecting
from fsseg_bench.cli.output import Form, put_tables
from fsseg_bench.errors import UserError
from fsseg_bench.report.conventions import conventions_tables


@click.command()
@click.argument("contenders", nargs=-1, metavar="RUNS [RUNS ...]", shell_complete=complete.method_names)
@selecting
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv"]),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
def conventions(contenders: tuple[str, ...], form: Form, out: str | None, **filters: Any) -> None:
    """Score the same predictions under every convention in use.

    RUNS are methods' names (perhaps with settings: "biopt,steps=5"), run folders, or folders that hold runs, as of
    compare. Prints for each convention which papers use it, the scores, their differences to the protocol's, and
    whether the order of the methods changes.
    """
    if not contenders:
        raise UserError("conventions: name runs: methods, run folders, or folders that hold runs")
    put_tables(conventions_tables(selected(contenders, **filters)), form, out)
