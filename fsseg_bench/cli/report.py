"""``fsseg-bench report``: the paper's tables with measured numbers beside them, and tables of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.files import write_atomic
from fsseg_bench.report.blocks import LATER_TABLES, PAPER_TABLES, Measured, PaperTable
from fsseg_bench.report.classes import class_tables
from fsseg_bench.report.collect import Collection, Resolution
from fsseg_bench.report.commands import Here, paper_commands, runs_commands
from fsseg_bench.report.flat import to_csv, to_json
from fsseg_bench.report.frames import any_runs
from fsseg_bench.report.html import to_html
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.layout import Layout, arranged
from fsseg_bench.report.macros import to_macros
from fsseg_bench.report.markdown import to_markdown
from fsseg_bench.report.model import Table, printable
from fsseg_bench.report.paper import NUMBERS, Number, paper_table
from fsseg_bench.report.rows import claimed_twice
from fsseg_bench.report.table import runs_tables, unfinished_table

FORMATS = ("markdown", "latex", "csv", "json", "html")
TABLES = (*PAPER_TABLES, "later", "runs", "all")


@dataclass(frozen=True)
class _Choice:
    """Which tables, and how they count."""

    papers: tuple[PaperTable, ...]
    runs: bool
    metric: Metric
    resolution: Resolution | None
    numbers: tuple[Number, ...]
    per_class: bool

    @property
    def protocols(self) -> tuple[str, ...] | None:
        """The protocols concerned; None: all."""
        return None if self.runs else tuple({name for table in self.papers for name in table.protocols})


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[Number, ...]:
    words = value.split(",")
    if wrong := [word for word in words if word not in NUMBERS]:
        raise UserError(f"--columns {value}: {wrong[0]!r} is none of {', '.join(NUMBERS)} (comma-separated)")
    return tuple(number for number in NUMBERS if number in words)


@click.command()
@click.option("--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs].")
@click.option(
    "--table",
    "names",
    multiple=True,
    type=click.Choice(TABLES),
    default=["runs"],
    help="A table of the BiOpt paper, later methods' published numbers, all runs, or all of these; may be repeated "
    "[default: runs].",
)
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
@click.option("--per-class", is_flag=True, help="Add the IoU of each class.")
@click.option(
    "--columns",
    "numbers",
    callback=_numbers,
    default=",".join(NUMBERS),
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
    form: str,
    out: str | None,
    metric: Metric,
    resolution: Resolution | None,
    episodes: int | None,
    per_class: bool,
    numbers: tuple[Number, ...],
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
    choice = _choice(names, metric, resolution, numbers, per_class)
    collection = any_runs(results, episodes=episodes)
    warned = _warn(collection, choice)
    if commands:
        text = "".join(f"{line}\n" for line in _commands(choice, collection, results))
    else:
        tables = _tables(choice, collection)
        text = to_macros(tables) if macros else render(form, tables, collection, layout, resolution)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(Path(out), text)
        click.echo(f"wrote {out}", err=True)
    if strict and warned:
        ctx.exit(1)


def _choice(
    names: Sequence[str], metric: Metric, resolution: Resolution | None, numbers: tuple[Number, ...], per_class: bool
) -> _Choice:
    wanted = set(TABLES) if "all" in names else set(names)
    papers = [table for name, table in PAPER_TABLES.items() if name in wanted]
    papers += LATER_TABLES if "later" in wanted else ()
    if metric == "binary" and "runs" not in wanted:
        raise UserError("--metric binary: the paper's tables have their own metric; it is for --table runs")
    return _Choice(tuple(papers), "runs" in wanted, metric, resolution, numbers, per_class)


def _warn(collection: Collection, choice: _Choice) -> bool:
    """Says on standard error what is wrong with the records; whether anything is.

    Raises:
        UserError: runs are asked for and there are none.
    """
    conflicts = claimed_twice(collection)
    for text in [*(f"skipped: {warning.message}" for warning in collection.warnings), *conflicts]:
        click.echo(printable(text), err=True)
    if not collection.done and not collection.unfinished:
        if not choice.papers:
            raise UserError(f"{collection.root}: holds no usable runs; make one with 'fsseg-bench run'")
        click.echo(f"{collection.root}: holds no usable runs; measured numbers are missing", err=True)
    return bool(collection.warnings or conflicts)


def _tables(choice: _Choice, collection: Collection) -> list[Table]:
    measured = Measured(collection)
    tables = [
        paper_table(table, collection, measured, resolution=choice.resolution, numbers=choice.numbers)
        for table in choice.papers
    ]
    if choice.runs:
        tables += runs_tables(collection, choice.metric, choice.resolution)
    if choice.per_class:
        tables += class_tables(collection, choice.resolution, choice.protocols)
    if choice.runs and (unfinished := unfinished_table(collection)):
        tables.append(unfinished)
    return tables


def _commands(choice: _Choice, collection: Collection, results: str | None) -> list[str]:
    from fsseg_bench.nn.catalogue import BACKBONES
    from fsseg_bench.registry import method_names

    here = Here(method_names(), tuple(BACKBONES), results)
    lines = paper_commands(choice.papers, Measured(collection), here)
    lines += runs_commands(collection, here) if choice.runs else []
    return list(dict.fromkeys(lines)) or ["# nothing is missing"]


def render(
    form: str,
    tables: Sequence[Table],
    collection: Collection,
    layout: Layout = "auto",
    resolution: Resolution | None = None,
) -> str:
    """The tables in one of :data:`FORMATS`."""
    if form == "csv":
        return to_csv(tables)
    if form == "json":
        return to_json(tables, [warning.message for warning in collection.warnings])
    shaped = [arranged(table, layout) for table in tables]
    if form == "markdown":
        return "\n".join(map(to_markdown, shaped))
    if form == "latex":
        return "\n".join(map(to_latex, shaped))
    return to_html(shaped, collection, resolution=resolution)
