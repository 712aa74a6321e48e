"""A pool of processes with fake tasks: who does which, what is heard, and how all of it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.machine import pool_worker
from fsseg_bench.machine.pool import Listener, Pool
from fsseg_bench.machine.pool_worker import Done, Failure
from tests.support.fresh import ROOT

CELL = "tests.support.cells:work"
TWO: list[dict[str, str]] = [{"CELL_SLOT": "first"}, {"CELL_SLOT": "second"}]
SECONDS = 600.0


class Heard(Listener):
    """Remembers everything."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.events: dict[int, list[Any]] = {}
        self.lines: dict[int, list[str]] = {}
        self.outcomes: dict[int, Done | Failure] = {}

    def began(self, task: int) -> None:
        self.order.append(task)

    def told(self, task: int, event: Any) -> None:
        self.events.setdefault(task, []).append(event)

    def printed(self, task: int, line: str) -> None:
        self.lines.setdefault(task, []).append(line)

    def ended(self, task: int, outcome: Done | Failure) -> None:
        self.outcomes[task] = outcome


def run(tasks: list[str], slots: list[dict[str, str]] = TWO, **options: Any) -> tuple[list[Done | None], Heard]:
    heard = Heard()
    with Pool(options.pop("target", CELL), slots) as pool:
        return pool.run(tasks, heard, **options), heard


def results(outcomes: list[Done | None]) -> list[Any]:
    return [outcome.result if outcome else None for outcome in outcomes]


def test_processes_live_for_many_tasks_in_places_of_their_own() -> None:
    outcomes, heard = run([f"say {n} {10 * n}" for n in range(7)])
    found = results(outcomes)
    assert heard.events == {n: [str(n), str(10 * n)] for n in range(7)}
    assert sorted(heard.outcomes) == list(range(7))
    assert {one["pid"] for one in found} & {os.getpid()} == set()
    by_slot = {slot: [one for one in found if one["slot"] == slot] for slot in ("first", "second")}
    assert all(len({one["pid"] for one in ones}) <= 1 for ones in by_slot.values())
    assert sorted(one["count"] for ones in by_slot.values() for one in ones) == sorted(
        n for ones in by_slot.values() for n in range(1, len(ones) + 1)
    )
    assert {tuple(one["argv"]) for one in found} == {tuple(sys.argv)}  # records name the command


def test_two_tasks_are_done_at_the_same_time(tmp_path: Path) -> None:
    outcomes, _ = run([f"meet {tmp_path}", f"meet {tmp_path}"])
    assert None not in outcomes


def test_one_slot_does_all_in_the_order_that_is_wanted() -> None:
    outcomes, heard = run(["say a", "say b", "say c"], TWO[:1], order=[2, 0, 1])
    assert heard.order == [2, 0, 1]
    assert [one["count"] for one in results(outcomes)] == [2, 3, 1]


def test_what_is_printed_is_heard_line_by_line() -> None:
    _, heard = run(["print ä b", "say a"], TWO[:1])
    assert heard.lines == {0: ["on standard output: ä b", "100 %", "no end of line"]}


@pytest.mark.parametrize(
    ("task", "message", "bug", "others"),
    [
        ("fail mistake", "wrong; mend it", False, True),
        ("fail bug", "KeyError: 'x' (cells.py, line ", True, True),
        ("fail disk", "full", False, False),
        ("fail exit", "SystemExit: 3 (cells.py, line ", True, True),
        ("die exit", "its process ended with exit code 3; its last words: something is broken", False, False),
        ("die kill", "its process was ended by SIGKILL, perhaps by the system for want of memory", False, False),
    ],
)
def test_a_failure_and_what_becomes_of_the_others(task: str, message: str, bug: bool, others: bool) -> None:
    """Those that would fail as well are not begun."""
    outcomes, heard = run([task, "say a"], TWO[:1])
    failure = heard.outcomes[0]
    assert isinstance(failure, Failure)
    assert failure.message.startswith(message)
    assert "--jobs" not in failure.message  # whoever asked for processes says what needs fewer
    assert ("Traceback" in failure.bug, message.partition(":")[0] in failure.bug) == (bug, bug)
    assert failure.later == failure.of_all
    assert [outcome is None for outcome in outcomes] == [True, not others]
    assert heard.order == ([0, 1] if others else [0])


def test_a_task_that_is_being_done_is_finished_when_another_fails(tmp_path: Path) -> None:
    class Letting(Heard):
        def ended(self, task: int, outcome: Done | Failure) -> None:
            super().ended(task, outcome)
            (tmp_path / "go").touch()

    heard = Letting()
    with Pool(CELL, TWO) as pool:
        outcomes = pool.run([f"wait {tmp_path / 'go'}", "fail disk", "say a"], heard)
    assert results(outcomes) == [str(tmp_path / "go"), None, None]
    assert list(heard.outcomes) == [1, 0]


def test_a_process_that_cannot_begin_says_why() -> None:
    _, heard = run(["say a"], TWO[:1], target="tests.support.cells:broken")
    assert heard.outcomes[0] == Failure("no such thing here; get one")
    _, heard = run(["say a"], TWO[:1], target="tests.support.nowhere:work")
    assert isinstance(heard.outcomes[0], Failure)
    assert "No module named 'tests.support.nowhere'" in heard.outcomes[0].message


class Interrupting(Heard):
    """Ctrl-C as soon as so many tasks have told something."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def told(self, task: int, event: Any) -> None:
        super().told(task, event)
        if len(self.events) == self._count:
            raise KeyboardInterrupt


def test_an_interrupt_ends_all_processes_and_each_may_tidy_up(tmp_path: Path) -> None:
    heard = Interrupting(2)
    with pytest.raises(KeyboardInterrupt), Pool(CELL, TWO) as pool:
        pool.run([f"wait {tmp_path / 'a'}", f"wait {tmp_path / 'b'}", "say a"], heard)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.interrupted", "b.interrupted"]
    assert all(ended(events[0], 0.0) for events in heard.events.values())
    assert heard.order == [0, 1]


def ended(pid: int, patience: float = SECONDS) -> bool:
    """Whether the process ends in time."""
    limit = time.monotonic() + patience
    try:
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            if time.monotonic() >= limit:
                return False
            time.sleep(0.01)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True


PARENT = """
import json, os, sys
from tests.machine.test_pool import Heard
from fsseg_bench.machine.pool import Pool
class Telling(Heard):
    def told(self, task, event):
        print(event, flush=True)
with Pool("tests.support.cells:work", [{}, {}]) as pool:
    pool.run(json.loads(sys.argv[1]), Telling())
"""


def parent(tasks: list[str]) -> tuple[subprocess.Popen[str], list[int]]:
    """A process with a pool of its own, in a process group of its own; and the processes of the pool."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(tasks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, [int(process.stdout.readline()) for _ in tasks]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes")
@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGINT, False)],
)
def test_nothing_is_left_however_the_parent_ends(tmp_path: Path, number: signal.Signals, whole_group: bool) -> None:
    """A terminal sends Ctrl-C to all processes: the tasks are interrupted once, and say nothing of it."""
    process, pids = parent([f"wait {tmp_path / name}" for name in "ab"])
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == -number  # Python ends itself by SIGINT after a KeyboardInterrupt
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0)  # the script's own
    assert all(ended(pid) for pid in pids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.interrupted", "b.interrupted"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes")
def test_a_task_that_does_not_stop_is_stopped() -> None:
    process, pids = parent(["stubborn", "stubborn"])
    process.kill()
    begin = time.monotonic()
    assert all(ended(pid, pool_worker.PATIENCE + SECONDS) for pid in pids)
    assert time.monotonic() - begin < pool_worker.PATIENCE + SECONDS
    process.communicate(timeout=SECONDS)
