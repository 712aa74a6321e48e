"""``fsseg-bench claims``: what released checkpoints claim, and what they give."""

from __future__ import annotations

from typing import Any, Literal

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import conditions, selecting
from fsseg_bench.cli.output import drawn, put, put_tables
from fsseg_bench.report.claims.make import Form
from fsseg_bench.report.claims.make import claims as make_claims
from fsseg_bench.report.model import printable


@click.command()
@click.option(
    "--method", multiple=True, help="Only this method; may be repeated.", shell_complete=complete.method_names
)
@selecting
@click.option("--papers-path", type=click.Path(), help="A folder with further papers' tables.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@click.option("--metric", type=click.Choice(["mean", "binary"]), default="mean", show_default=True, help="Which IoU.")
@click.option(
    "--resolution",
    type=click.Choice(["input", "native"]),
    help="Where pixels are counted [default: the protocol's headline].",
)
@click.option(
    "--interval",
    type=click.Choice(["images", "episodes"]),
    default="images",
    show_default=True,
    help="What ± is over: images and episodes, or other episodes of the same images alone.",
)
def claims(
    results: str | None,
    where: tuple[str, ...],
    form: Form | Literal["table"],
    out: str | None,
    **options: Any,
) -> None:
    """Print what released checkpoints claim, beside what was measured with them.

    A row is a published number that such a file is said to give; beside it stand what it gave on the authors' own
    episodes (run --eval-only official:FILE --episodes LIST) and under the protocol (without --episodes), each with its
    interval and its difference. What cannot be compared says why.
    """
    filters = {key: options.pop(key) for key in ("dataset", "backbone", "shot", "way", "seed")}
    made = make_claims(results, where=conditions(where, **filters), **options)
    for line in made.doubts:
        click.echo(printable(line), err=True)
    if form == "table" and drawn(out):
        put_tables([made.table])
    else:
        put(made.text("markdown" if form == "table" else form), out)
