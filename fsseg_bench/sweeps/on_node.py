"""One attempt at a cell of a sweep by a process of a batch system: ``python -m fsseg_bench.sweeps.on_node``.

SIGUSR1 says that the time limit is near: if the cell has come no further by then, more time is what it needs. SIGTERM,
when the job is preempted or cancelled, says nothing of the cell.

It ends with 0 when the cell is done, 2 or 70 when its command would end like that again, 1 when there is nothing to
be tried, 75 when it is to be started again after a pause, and 143 when it was stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fsseg_bench.errors import LATER, MISTAKE, TERMINATED, LaterError, UserError
from fsseg_bench.sweeps.attempt import PROGRAM, attempt
from fsseg_bench.sweeps.plan import Plan, read_plan, records_of
from fsseg_bench.sweeps.states import FAILED_CODES, CellState, state_of

NOTHING: Final = 1


def main(arguments: Sequence[str] | None = None, program: Sequence[str] = PROGRAM) -> int:
    """Makes an attempt, tells what it does, and gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fsseg_bench.sweeps.on_node", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sweep")
    parser.add_argument("label", help="of the cell")
    parser.add_argument("--engine", required=True, help="what started this")
    parser.add_argument("--since", help="attempts that began before this time in UTC do not count")
    given = parser.parse_args(arguments)
    stop, limit = threading.Event(), threading.Event()

    def told(number: int, _frame: object) -> None:
        if number == signal.SIGUSR1:
            limit.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, told)
    try:
        return _make(given.folder, given.label, given.engine, given.since, stop, limit, program)
    except UserError as error:
        _say(f"{type(error).__name__}: {error}")
        return LATER if isinstance(error, LaterError) else MISTAKE


def _make(
    folder: Path,
    label: str,
    engine: str,
    since: str | None,
    stop: threading.Event,
    limit: threading.Event,
    program: Sequence[str],
) -> int:
    plan = read_plan(folder)
    if label not in plan.by_label:
        raise UserError(f"{folder}: the sweep was planned anew and has no cell {label} any more")
    before = _state(folder, plan, label, since)
    if (code := _nothing_to_try(before, plan, folder, since)) is not None:
        return code
    code = attempt(
        folder,
        plan,
        before.cell,
        engine=engine,
        stop=stop,
        limit=limit,
        gpu=os.environ.get("CUDA_VISIBLE_DEVICES") or None,
        program=program,
    )
    _say(f"the attempt at {label} ended with {code}")
    if code == 0 or code in FAILED_CODES:
        return code
    if stop.is_set():
        return TERMINATED
    after = _state(folder, plan, label, since)
    if after.state in {"done", "failed", "gave up"}:
        _say(f"{label}: {after.state} {after.reason}")
        return 0 if after.state == "done" else NOTHING
    return LATER


def _nothing_to_try(now: CellState, plan: Plan, folder: Path, since: str | None) -> int | None:
    """The exit code where no attempt is to be made."""
    label = now.cell.label
    if now.state == "done":
        _say(f"{label}: done")
        return 0
    if now.holder is not None:
        _say(f"{label}: made by {now.holder.words}; to be looked at again")
        return LATER
    if now.state in {"failed", "gave up"}:
        _say(f"{label}: {now.state}: {now.reason}")
        return NOTHING
    if now.cell.waits_for is not None:
        first = _state(folder, plan, now.cell.waits_for, since)
        if first.state == "running":
            _say(f"{label}: {first.cell.label} is first, and is being made; to be looked at again")
            return LATER
        if first.state != "done":
            _say(f"{label}: {first.cell.label} is first, and is not done ({first.state}): nothing was tried")
            return NOTHING
    return None


def _state(folder: Path, plan: Plan, label: str, since: str | None) -> CellState:
    return state_of(records_of(folder), folder, plan, plan.by_label[label], since=since)


def _say(words: str) -> None:
    sys.stdout.write(f"# {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
