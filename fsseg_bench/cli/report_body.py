"""What ``fsseg-bench report`` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.commands import Installation, paper_commands, runs_commands
from fsseg_bench.report.find_papers import ALL, RUNS, find_tables, papers
from fsseg_bench.report.flat import to_csv, to_json
from fsseg_bench.report.html import to_html
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.markdown import to_markdown
from fsseg_bench.report.model import Layout, Table, arranged, printable
from fsseg_bench.report.paper import NUMBERS, Number, paper_table
from fsseg_bench.report.papers import Paper, PaperTable
from fsseg_bench.report.rows import claimed_twice
from fsseg_bench.report.table import class_tables, runs_tables, unfinished_table


@dataclass(frozen=True)
class Choice:
    """Which tables, and how they count."""

    known_papers: tuple[Paper, ...]
    """Those that tables may be chosen from; none where only runs are asked for."""
    papers: tuple[PaperTable, ...]
    runs: bool
    metric: Metric
    resolution: Resolution | None
    numbers: tuple[Number, ...]
    per_class: bool

    @property
    def protocols(self) -> tuple[str, ...] | None:
        """The protocols concerned; None: all."""
        return None if self.runs else tuple({p.name for table in self.papers for p in table.rules})


def choose(
    names: Sequence[str],
    metric: Metric,
    resolution: Resolution | None,
    columns: str,
    per_class: bool,
    papers_path: str | None = None,
) -> Choice:
    """The choice that the options make.

    Raises:
        UserError: options that contradict each other, an unknown table or column, or as :func:`papers`.
    """
    printed = [name for name in names if name != RUNS]
    known = papers(papers_path) if printed or papers_path else ()
    runs = RUNS in names or ALL in names
    if metric == "binary" and not runs:
        raise UserError("--metric binary: the paper's tables have their own metric; it is for --table runs")
    return Choice(known, tuple(find_tables(printed, known)), runs, metric, resolution, _numbers(columns), per_class)


def _numbers(columns: str) -> tuple[Number, ...]:
    words = columns.split(",")
    if wrong := [word for word in words if word not in NUMBERS]:
        raise UserError(f"--columns {columns}: {wrong[0]!r} is none of {', '.join(NUMBERS)} (comma-separated)")
    return tuple(number for number in NUMBERS if number in words)


def warn(collection: Collection, choice: Choice) -> bool:
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


def tables(choice: Choice, collection: Collection) -> list[Table]:
    """The tables, in the order of the options."""
    measured = Measured(collection)
    made = [
        paper_table(table, collection, measured, resolution=choice.resolution, numbers=choice.numbers)
        for table in choice.papers
    ]
    if choice.runs:
        made += runs_tables(collection, choice.metric, choice.resolution)
    if choice.per_class:
        made += class_tables(collection, choice.resolution, choice.protocols)
    if choice.runs and (unfinished := unfinished_table(collection)):
        made.append(unfinished)
    return made


def commands_text(choice: Choice, collection: Collection, results: str | None) -> str:
    """The lines of ``--commands``."""
    from fsseg_bench.nn.catalogue import backbone_names
    from fsseg_bench.registry import method_names

    here = Installation(method_names(), backbone_names(), results)
    lines = paper_commands(choice.papers, Measured(collection), here)
    lines += runs_commands(collection, here) if choice.runs else []
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)) or "# nothing is missing\n"


def render(form: str, tables: Sequence[Table], collection: Collection, choice: Choice, layout: Layout) -> str:
    """The tables in the format ``form``: markdown, latex, csv, json or html."""
    if form == "csv":
        return to_csv(tables)
    if form == "json":
        return to_json(tables, [warning.message for warning in collection.warnings])
    shaped = [arranged(table, layout) for table in tables]
    if form == "markdown":
        return "\n".join(map(to_markdown, shaped))
    if form == "latex":
        return "\n".join(map(to_latex, shaped))
    return to_html(shaped, collection, resolution=choice.resolution, known_papers=choice.known_papers)
