"""``fsseg-bench report``: papers' tables with measured numbers beside them, and tables of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import conditions, selecting, user_folders
from fsseg_bench.cli.output import drawn, put, put_tables
from fsseg_bench.errors import UserError
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.commands import Installation, paper_commands, runs_commands
from fsseg_bench.report.document import Document, Request, document
from fsseg_bench.report.find_papers import RUNS
from fsseg_bench.report.model import Layout, printable
from fsseg_bench.report.paper_words import NUMBERS, Number

Form = Literal["table", "markdown", "latex", "csv", "json", "html"]
FORMATS: tuple[Form, ...] = ("table", "markdown", "latex", "csv", "json", "html")


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[Number, ...]:
    words = value.split(",")
    if wrong := [word for word in words if word not in NUMBERS]:
        raise UserError(f"--columns {value}: {wrong[0]!r} is none of {', '.join(NUMBERS)} (comma-separated)")
    return tuple(number for number in NUMBERS if number in words)


@click.command()
@click.option(
    "--table",
    "tables",
    multiple=True,
    default=[RUNS],
    shell_complete=complete.tables,
    help="A paper's table (biopt:1, or 1), all tables of a paper (later), runs, or all of these; may be repeated. "
    "fsseg-bench list tables names them [default: runs].",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Only this method; may be repeated.",
    shell_complete=complete.method_names,
)
@selecting
@click.option(
    "--pack",
    "packs",
    multiple=True,
    type=click.Path(),
    help="Read this file by fsseg-bench pack, too, and say whose its records are; may be repeated.",
)
@click.option("--board", is_flag=True, help="html: one table of all rows, to be filtered and sorted.")
@click.option("--papers-path", type=click.Path(), help="A folder with further papers' tables.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table: drawn on a terminal, Markdown elsewhere. html: a page with pictures.",
)
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
@click.option("--controls", is_flag=True, help="Add what fsseg-bench controls has measured; html shows it in any case.")
@click.option(
    "--columns",
    "numbers",
    callback=_numbers,
    default=",".join(NUMBERS),
    show_default=True,
    help="Of papers' tables.",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "columns", "lines"]),
    default="auto",
    show_default=True,
    help="Published, measured and difference as columns, or as lines. auto: lines where columns would be too many, and "
    "without those that nothing is known of.",
)
@click.option("--data-root", type=click.Path(), help="html: folder of the data sets, for pictures of episodes.")
@user_folders("source", note="html: ")
@click.option("--commands", is_flag=True, help="Print the run commands that would fill what is missing.")
@click.option("--macros", is_flag=True, help="Print a LaTeX macro for each number.")
@click.option("--strict", is_flag=True, help="Exit code 1 when a record was skipped or two claim one cell.")
@click.pass_context
def report(
    ctx: click.Context,
    /,
    tables: tuple[str, ...],
    methods: tuple[str, ...],
    results: str | None,
    where: tuple[str, ...],
    form: Form,
    out: str | None,
    layout: Layout,
    commands: bool,
    macros: bool,
    strict: bool,
    **options: Any,
) -> None:
    """Print tables: of all finished runs, or a paper's, with measured numbers beside the published ones.

    Every score is computed from the stored counts. Runs that are not finished make no number and are listed apart;
    records that cannot be used are named on standard error. --method, --dataset, --backbone, --shot and --way choose
    among published rows, too; --seed and --where among runs alone. How many are left out is said.
    """
    if options["board"] and form != "html":
        raise UserError("--board is a page: add --format html")
    if commands and macros:
        raise UserError("--commands and --macros exclude each other: give one of them")
    filters = {key: options.pop(key) for key in ("dataset", "backbone", "shot", "way", "seed")}
    request = Request(tables=tables, methods=methods, where=conditions(where, **filters), layout=layout, **options)
    made = document(results, request)
    doubts = made.doubts
    _say([*doubts, *(f"note: {note}" for note in (*made.notes, *made.no_controls))])
    if commands:
        put(_commands(made, results), out)
    elif macros:
        put(made.text("macros"), out)
        _say(made.apart)
    else:
        _put(made, form, out)
    if strict and doubts:
        ctx.exit(1)


def _put(made: Document, form: Form, out: str | None) -> None:
    if form != "table":
        put(made.text(form), out)
        _say(made.apart if form in {"latex", "csv"} else [])
    elif drawn(out):
        put_tables([*made.shaped(), *([made.unfinished] if made.unfinished else [])])
    else:
        put(made.text("markdown"), out)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(printable(line), err=True)


def _commands(made: Document, results: str | None) -> str:
    """The lines of ``--commands``."""
    from fsseg_bench.nn.catalogue import backbone_names
    from fsseg_bench.registry import method_names

    here = Installation(method_names(), backbone_names(), results)
    lines = paper_commands(made.wanted, Measured(made.collection), here)
    lines += runs_commands(made.collection, here) if made.request.of_runs else []
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)) or "# nothing is missing\n"
