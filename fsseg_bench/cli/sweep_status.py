"""``fsseg-bench sweep status``: what became of a sweep's cells, from records and locks alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.output import put
from fsseg_bench.errors import STOPPED, UserError
from fsseg_bench.progress import about
from fsseg_bench.report.model import printable
from fsseg_bench.sweeps.find import find_sweep
from fsseg_bench.sweeps.plan import Plan, read_plan
from fsseg_bench.sweeps.states import CellState, State, states_of
from fsseg_bench.sweeps.table import Row, counts, counts_words, part_done, rows, seconds_left, to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PAUSE: Final = 2.0
"""Seconds between two looks, at least."""
_SHARE: Final = 4.0
"""How many times as long as a look the pause after it is, at least: looking reads thousands of files."""
_COUNTED: Final[tuple[State, ...]] = ("waiting", "done")
"""States whose cells are counted, not listed."""
_LOST: Final[tuple[State, ...]] = ("failed", "gave up")
"""States that last until the sweep's command is given again."""
_LONGEST: Final = 20
"""Cells of one state that are listed."""
_PLAIN_WIDTH: Final = 160
_BAR: Final = 30
_STYLES: Final[dict[State, str]] = {"failed": "red", "gave up": "red", "running": "green", "stopped": "yellow"}


@click.command()
@click.argument("sweep", shell_complete=complete.sweeps)
@click.option("--out", type=click.Path(), help="Folder of the records [default: the file's, else as of run].")
@click.option("--watch", is_flag=True, help="Draw it again until all cells are done or lost; Ctrl-C ends it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with all cells.")
@click.option("--verbose", "-v", is_flag=True, help="List all cells, those that wait or are done, too.")
@click.pass_context
def status(ctx: click.Context, sweep: str, out: str | None, watch: bool, as_json: bool, verbose: bool) -> None:
    """Say what became of each cell of SWEEP, a TOML file or the name of a sweep.

    Nothing is started or stopped. The states come from the records, from the locks of who writes in them, and from the
    list of attempts; cells that failed come first, with the reason. The exit code is 0 when all cells are done, else 1.
    """
    if watch and as_json:
        raise UserError("--watch and --json exclude each other: give one of them")
    folder = find_sweep(sweep, out)
    plan = read_plan(folder)
    if watch:
        try:
            states = _watch(folder, plan, verbose)
        except KeyboardInterrupt:
            ctx.exit(STOPPED)
    else:
        states = states_of(folder, plan)
        if as_json:
            document = to_json(plan.name, str(folder), states)
            put(json.dumps(document, indent=2, ensure_ascii=False) + "\n", None)
        else:
            _console().print(_drawn(plan, states, verbose))
    ctx.exit(0 if _all_done(states) else 1)


def _all_done(states: Sequence[CellState]) -> bool:
    return counts(states)["done"] == len(states)


def _over(states: Sequence[CellState]) -> bool:
    """Whether nothing is left that a driver at work would still make."""
    lost = {state.cell.label for state in states if state.state in _LOST}
    open_ = [state for state in states if state.state != "done" and state.state not in _LOST]
    return all(state.state == "waiting" and state.cell.waits_for in lost for state in open_)


def _console() -> Console:
    """On a terminal as wide as that; elsewhere lines are not broken as early."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def _watch(folder: Path, plan: Plan, verbose: bool) -> list[CellState]:
    """Shows the states until nothing is left to be made; not on a terminal, a line whenever the counts change."""
    from rich.live import Live

    console = _console()
    if not console.is_terminal:
        return _told(folder, plan)
    states = states_of(folder, plan)
    with Live(_drawn(plan, states, verbose), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while not _over(states):
            began = time.monotonic()
            states = states_of(folder, plan)
            live.update(_drawn(plan, states, verbose), refresh=True)
            time.sleep(max(_PAUSE, _SHARE * (time.monotonic() - began)))
    return states


def _told(folder: Path, plan: Plan) -> list[CellState]:
    told = ""
    while True:
        began = time.monotonic()
        states = states_of(folder, plan)
        if (words := counts_words(states)) != told:
            click.echo(f"{plan.name}: {words}")
            told = words
        if _over(states):
            return states
        time.sleep(max(_PAUSE, _SHARE * (time.monotonic() - began)))


def _drawn(plan: Plan, states: Sequence[CellState], verbose: bool) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, left = part_done(states), seconds_left(states)
    words = f"{int(100 * done)} % of all steps" + (f", {about(left)} left" if left is not None else "")  # 100 % is all
    summary = Table.grid(padding=(0, 1, 0, 0))
    summary.add_row(ProgressBar(total=1.0, completed=done, width=_BAR), Text(words))
    parts: list[RenderableType] = [Text.assemble((plan.name, "bold"), f": {counts_words(states)}"), summary]
    for state, found in groupby(rows(states), lambda row: row.state):
        if verbose or state not in _COUNTED:
            parts += [Text(), *_section(state, [*found], None if verbose else _LONGEST)]
    return Group(*parts)


def _section(state: State, found: Sequence[Row], most: int | None) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    table.add_column(Text(f"{state} ({len(found):,})", _STYLES.get(state, "bold")), overflow="fold", ratio=1)
    table.add_column("steps", justify="right", no_wrap=True, min_width=5)
    table.add_column("attempts", justify="right", no_wrap=True)
    table.add_column("where" if state == "running" else "why", overflow="fold", ratio=1)
    for row in found[:most]:
        last = [row.where, row.note] if state == "running" else [row.note, row.where]
        words = "; ".join(filter(None, last))
        table.add_row(*(Text(printable(text)) for text in (row.cell, row.done, row.attempts, words)))
    more = len(found[most:]) if most is not None else 0
    return [table, *([Text(f"and {more:,} more; --verbose lists them", "dim")] if more > 0 else [])]
