"""``fsseg-bench report``: papers' tables with measured numbers beside them, and tables of all runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.errors import UserError

if TYPE_CHECKING:
    from fsseg_bench.protocol.spec import Resolution
    from fsseg_bench.protocol.statistics import IntervalKind, Metric
    from fsseg_bench.report.model import Layout

FORMATS = ("markdown", "latex", "csv", "json", "html")


@click.command()
@click.option("--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option(
    "--table",
    "names",
    multiple=True,
    default=["runs"],
    help="A paper's table (biopt:1, or 1), all tables of a paper (later), runs, or all of these; may be repeated. "
    "fsseg-bench list tables names them [default: runs].",
)
@click.option("--papers-path", type=click.Path(), help="A folder with further papers' tables.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="markdown", show_default=True)
@click.option("--out", type=click.Path(), help="Write to this file instead of the screen.")
@click.option(
    "--metric", type=click.Choice(["mean", "binary"]), default="mean", show_default=True, help="The IoU of runs."
)
@click.option(
    "--resolution",
    type=click.Choice(["input", "native"]),
    help="Where pixels are counted [default: the protocol's headline].",
)
@click.option("--episodes", type=int, help="Count the first episodes of each run only.")
@click.option(
    "--interval",
    type=click.Choice(["images", "episodes"]),
    default="images",
    show_default=True,
    help="What ± is over: images and episodes, or other episodes of the same images alone.",
)
@click.option("--per-class", is_flag=True, help="Add the IoU of each class.")
@click.option(
    "--columns",
    default="published,measured,difference",
    show_default=True,
    help="Of the paper's tables.",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "columns", "lines"]),
    default="auto",
    show_default=True,
    help="Published, measured and difference as columns, or as lines (auto: where columns would be too many).",
)
@click.option("--commands", is_flag=True, help="Print the run commands that would fill what is missing.")
@click.option("--macros", is_flag=True, help="Print a LaTeX macro for each number.")
@click.option("--strict", is_flag=True, help="Exit code 1 when a record was skipped or two claim one cell.")
@click.pass_context
def report(
    ctx: click.Context,
    results: str | None,
    names: tuple[str, ...],
    papers_path: str | None,
    form: str,
    out: str | None,
    metric: Metric,
    resolution: Resolution | None,
    episodes: int | None,
    interval: IntervalKind,
    per_class: bool,
    columns: str,
    layout: Layout,
    commands: bool,
    macros: bool,
    strict: bool,
) -> None:
    """Print tables: the paper's, with measured numbers beside the published ones, or all finished runs.

    Every score is computed from the stored counts. Unfinished runs are listed apart; records that cannot be used
    are named on standard error.
    """
    if "numpy" not in sys.modules:
        # Its matrix products here are small: threads that wait for each other cost more than they bring.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fsseg_bench.cli import report_body as body
    from fsseg_bench.report.frames import any_runs
    from fsseg_bench.report.latex import to_macros
    from fsseg_bench.storage.files import write_atomic

    if commands and macros:
        raise UserError("--commands and --macros exclude each other: give one of them")
    choice = body.choose(names, metric, resolution, columns, per_class, papers_path)
    collection = any_runs(results, episodes=episodes, interval=interval)
    warned = body.warn(collection, choice)
    if commands:
        text = body.commands_text(choice, collection, results)
    else:
        tables = body.tables(choice, collection)
        text = to_macros(tables) if macros else body.render(form, tables, collection, choice, layout)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(Path(out), text)
        click.echo(f"wrote {out}", err=True)
    if strict and warned:
        ctx.exit(1)
