"""A planned sweep is made from the command line: what is said before, and at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from fsseg_bench.cli.sweep_screen import Screen
from fsseg_bench.machine.stopping import asked, deferred
from fsseg_bench.report.model import printable
from fsseg_bench.sweeps.driver import Outcome, drive
from fsseg_bench.sweeps.lines import Lines
from fsseg_bench.sweeps.plan import Plan, records_of
from fsseg_bench.sweeps.room import bytes_left, in_words
from fsseg_bench.sweeps.start import engine_for, ready, submit_cells
from fsseg_bench.sweeps.states import CellState
from fsseg_bench.sweeps.table import counts_words

_MOST = 10
"""Cells that are named at the end."""


def make(folder: Path, plan: Plan, options: Mapping[str, Any], say: Callable[[str], None]) -> int:
    """Makes cells here, or on Ray's nodes, until nothing is left that could be done; the exit code."""
    states = ready(folder, plan, say, ignore_disk=options["ignore_disk"])
    outcome = Outcome(tuple(states), 0)
    if outcome.left:
        with deferred():
            engine, where = engine_for(folder, plan, options["on"], say, jobs=options["jobs"])
            say(f"{_headline(plan, states)}; {where}")
            if options["verbose"]:
                say(f"logs: {folder / 'cells'}")
            screen = _screen(folder, plan, len(states) - len(outcome.left), quiet=options["quiet"])
            with screen:
                outcome = drive(
                    folder,
                    plan,
                    engine,
                    screen,
                    keep_failed=options["keep_failed"],
                    wait=options["wait"] is not False,
                )
            _end(outcome, folder, say)
    else:
        _end(outcome, folder, say)
    return outcome.code


def submit(folder: Path, plan: Plan, options: Mapping[str, Any], say: Callable[[str], None]) -> int:
    """Gives what is left to Slurm, and waits for it if that is wanted; the exit code."""
    states = ready(folder, plan, say, ignore_disk=options["ignore_disk"])
    say(_headline(plan, states))
    states = submit_cells(folder, plan, states, keep_failed=options["keep_failed"], wait=bool(options["wait"]), say=say)
    if not options["wait"]:
        say(f"'fsseg-bench sweep status {shlex.quote(plan.name)}' says how far it is")
        return 0
    outcome = Outcome(tuple(states), 0)
    _end(outcome, folder, say)
    return outcome.code


def _screen(folder: Path, plan: Plan, done: int, *, quiet: bool) -> Lines:
    if sys.stderr.isatty() and not quiet:
        return Screen(folder, plan, done)
    return Lines(folder, plan, done, _put, quiet=quiet)


def _put(line: str) -> None:
    click.echo(printable(line), err=True)


def _headline(plan: Plan, states: list[CellState]) -> str:
    needed = sum(map(bytes_left, states))
    disk = f"; about {in_words(needed)} to be written" if needed else ""
    return f"{plan.name}: {counts_words(states)}{disk}"


def _end(outcome: Outcome, folder: Path, say: Callable[[str], None]) -> None:
    """What is not done and why; where the table is."""
    lost = outcome.of("failed", "gave up")
    for state in lost[:_MOST]:
        _put(f"{state.cell.label}: {state.state}: {state.reason}")
    if len(lost) > _MOST:
        _put(f"and {len(lost) - _MOST} more that failed or were given up")
    say(counts_words(outcome.states))
    if outcome.left and not asked():
        say(_advice(outcome))
    root = shlex.quote(str(records_of(folder)))
    say(f"the table: fsseg-bench report --results {root}")


def _advice(outcome: Outcome) -> str:
    if outcome.of("failed", "gave up"):
        return "the same command tries what failed once more; --keep-failed does not"
    if outcome.of("running"):
        return "what is left is being made elsewhere; the same command makes what is left undone"
    return "make room on the disk; the same command goes on"
