"""``fsseg-bench report``: the finished runs as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.files import write_atomic
from fsseg_bench.report.collect import Collection, Resolution, find_runs
from fsseg_bench.report.flat import to_csv, to_json
from fsseg_bench.report.html import to_html
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.markdown import to_markdown
from fsseg_bench.report.model import Table
from fsseg_bench.report.table import runs_tables, unfinished_table

FORMATS = ("markdown", "latex", "csv", "json", "html")


@click.command()
@click.option("--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option("--format", "form", type=click.Choice(FORMATS), default="markdown", show_default=True)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@click.option(
    "--metric", type=click.Choice(["mean", "binary"]), default="mean", show_default=True, help="The IoU shown."
)
@click.option(
    "--resolution",
    type=click.Choice(["input", "native"]),
    help="Where pixels are counted [default: the protocol's headline].",
)
def report(results: str | None, form: str, out: str | None, metric: Metric, resolution: Resolution | None) -> None:
    """Print the finished runs as tables: method by fold, with intervals.

    Every score is computed from the stored counts. Unfinished runs are listed apart; records that cannot be used
    are named on standard error.
    """
    collection = find_runs(results)
    for warning in collection.warnings:
        click.echo(f"skipped: {warning.message}", err=True)
    if not collection.done and not collection.unfinished:
        raise UserError(f"{collection.root}: holds no usable runs; make one with 'fsseg-bench run'")
    tables = [*runs_tables(collection, metric, resolution)]
    if unfinished := unfinished_table(collection):
        tables.append(unfinished)
    text = render(form, tables, collection)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(Path(out), text)
        click.echo(f"wrote {out}", err=True)


def render(form: str, tables: Sequence[Table], collection: Collection) -> str:
    """The tables in one of :data:`FORMATS`."""
    if form == "markdown":
        return "\n".join(map(to_markdown, tables))
    if form == "latex":
        return "\n".join(map(to_latex, tables))
    if form == "csv":
        return to_csv(tables)
    if form == "json":
        return to_json(tables, [warning.message for warning in collection.warnings])
    return to_html(tables, collection)
