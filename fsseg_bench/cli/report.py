"""``fsseg-bench report``: papers' tables with measured numbers beside them, and tables of all runs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fsseg_bench.cli.output import put
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind, Metric
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, any_runs
from fsseg_bench.report.commands import Installation, paper_commands, runs_commands
from fsseg_bench.report.find_papers import ALL, RUNS, find_tables, papers
from fsseg_bench.report.html import to_html
from fsseg_bench.report.latex import to_latex, to_macros
from fsseg_bench.report.model import Layout, arranged, printable
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.paper_words import NUMBERS, Number
from fsseg_bench.report.papers import PaperTable
from fsseg_bench.report.rows import claimed_twice
from fsseg_bench.report.table import class_tables, runs_tables, unfinished_table
from fsseg_bench.report.text import to_csv, to_json, to_markdown

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
    if commands and macros:
        raise UserError("--commands and --macros exclude each other: give one of them")
    printed = [name for name in names if name != RUNS]
    known = papers(papers_path) if printed or papers_path else ()
    of_runs = RUNS in names or ALL in names
    if metric == "binary" and not of_runs:
        raise UserError("--metric binary: the paper's tables have their own metric; it is for --table runs")
    wanted, numbers = find_tables(printed, known), _numbers(columns)
    collection = any_runs(results, episodes=episodes, interval=interval)
    warned = _warn(collection, needed=not wanted)
    measured = Measured(collection)
    if commands:
        text = _commands(wanted, of_runs, measured, collection, results)
    else:
        tables = [paper_table(t, collection, measured, resolution=resolution, numbers=numbers) for t in wanted]
        if of_runs:
            tables += runs_tables(collection, metric, resolution)
        if per_class:
            protocols = None if of_runs else tuple({rules.name for table in wanted for rules in table.rules})
            tables += class_tables(collection, resolution, protocols)
        if of_runs and (unfinished := unfinished_table(collection)):
            tables.append(unfinished)
        shaped = [arranged(table, layout) for table in tables]
        if macros:
            text = to_macros(tables)
        elif form == "csv":
            text = to_csv(tables)
        elif form == "json":
            text = to_json(tables, [warning.message for warning in collection.warnings])
        elif form == "html":
            text = to_html(shaped, collection, metric=metric, resolution=resolution, known_papers=known)
        else:
            text = "\n".join(map(to_latex if form == "latex" else to_markdown, shaped))
    put(text, out)
    if strict and warned:
        ctx.exit(1)


def _numbers(columns: str) -> tuple[Number, ...]:
    words = columns.split(",")
    if wrong := [word for word in words if word not in NUMBERS]:
        raise UserError(f"--columns {columns}: {wrong[0]!r} is none of {', '.join(NUMBERS)} (comma-separated)")
    return tuple(number for number in NUMBERS if number in words)


def _warn(collection: Collection, *, needed: bool) -> bool:
    """Says on standard error what is wrong with the records; whether anything is.

    Raises:
        UserError: runs are ``needed`` and there are none.
    """
    conflicts = claimed_twice(collection)
    for text in [*(f"skipped: {warning.message}" for warning in collection.warnings), *conflicts]:
        click.echo(printable(text), err=True)
    if not collection.done and not collection.unfinished:
        if needed:
            raise UserError(f"{collection.root}: holds no usable runs; make one with 'fsseg-bench run'")
        click.echo(f"{collection.root}: holds no usable runs; measured numbers are missing", err=True)
    return bool(collection.warnings or conflicts)


def _commands(
    wanted: Sequence[PaperTable], of_runs: bool, measured: Measured, collection: Collection, results: str | None
) -> str:
    """The lines of ``--commands``."""
    from fsseg_bench.nn.catalogue import backbone_names
    from fsseg_bench.registry import method_names

    here = Installation(method_names(), backbone_names(), results)
    lines = paper_commands(wanted, measured, here)
    lines += runs_commands(collection, here) if of_runs else []
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)) or "# nothing is missing\n"
