"""The driver, with cells that are processes but compute nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.on_local import Slot
from fsseg_bench.sweeps.plan import cell_folder, read_plan
from fsseg_bench.sweeps.states import state_of
from tests.support.fakes import doubles, driven, driver, episodes, fake, starts, until
from tests.support.sweeps import held, planned

KILLED = {"after": 2, "signal": signal.SIGKILL}
TERMINATED = {"after": 2, "code": 143}
FAILS = {"after": 1, "code": 2, "says": "error: --shot 99: no"}
FULL = {"after": 1, "code": 75, "says": "error: x: the disk is full (No space left on device). Make room"}


def test_all_cells_are_made(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n}") for n in range(5)]
    folder = planned(tmp_path, cells)
    outcome, heard = driven(folder)
    assert (outcome.code, outcome.attempts, outcome.left) == (0, 5, [])
    assert sorted(heard.ended_as) == [(cell.label, 0, "done") for cell in cells]
    assert [len(starts(tmp_path, cell.label)) for cell in cells] == [1] * 5
    assert not doubles(tmp_path)
    again, heard = driven(folder)
    assert (again.code, again.attempts, heard.began_at) == (0, 0, [])


@pytest.mark.parametrize(
    ("turns", "attempts", "state", "code"),
    [
        ([FAILS, {}], 1, "failed", 1),
        ([{"after": 1, "code": 70}, {}], 1, "failed", 1),
        ([KILLED, {}], 2, "done", 0),
        ([TERMINATED, {}], 2, "done", 0),
        ([{"after": 0, "code": 75}, {}], 2, "done", 0),
        ([{"after": 0, "signal": 9}], 3, "gave up", 1),  # no episode, and two further attempts
        ([{"after": n, "signal": 9} for n in (0, 0, 1, 1, 2, 3)], 9, "gave up", 1),  # progress restarts the count
        ([{"after": n, "signal": 9} for n in (0, 0, 1, 1, 2)] + [{}], 6, "done", 0),
    ],
)
def test_what_is_tried_again(tmp_path: Path, turns: list[dict[str, Any]], attempts: int, state: str, code: int) -> None:
    cell = fake(tmp_path, "one", *turns)
    outcome, _ = driven(planned(tmp_path, [cell, fake(tmp_path, "other")]))
    found = next(s for s in outcome.states if s.cell.label == "one")
    assert (len(starts(tmp_path, "one")), found.state, outcome.code) == (attempts, state, code)
    assert len(starts(tmp_path, "other")) == 1
    if state == "done":
        assert episodes(tmp_path, cell) == [0, 1, 2, 3]
    if turns[0] == FAILS:
        assert "--shot 99: no" in found.reason


def test_the_same_command_tries_what_failed_once_more(tmp_path: Path) -> None:
    cells = [fake(tmp_path, "wrong", FAILS, FAILS, {}), fake(tmp_path, "weak", *[{"after": 0, "signal": 9}] * 3, {})]
    folder = planned(tmp_path, cells)
    assert driven(folder)[0].code == 1
    kept, heard = driven(folder, keep_failed=True)
    assert (kept.code, heard.began_at) == (1, [])
    assert [s.state for s in kept.states] == ["failed", "gave up"]
    again, heard = driven(folder)
    assert again.code == 1
    assert sorted(heard.ended_as) == [("weak", 0, "done"), ("wrong", 2, "failed")]
    assert driven(folder)[0].code == 0


def test_what_failed_is_not_tried_again_whatever_the_clock_of_its_machine_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsseg_bench.sweeps.attempts.now", lambda: "2026-01-01T00:00:00.000+00:00")
    outcome, heard = driven(planned(tmp_path, [fake(tmp_path, "one", FAILS, {})]))
    assert (outcome.code, heard.ended_as) == (1, [("one", 2, "failed")])


def test_cells_that_others_wait_for_come_first_and_the_longest_before_the_others(tmp_path: Path) -> None:
    training = fake(tmp_path, "training", {"seconds": 0.1})
    waiting = fake(tmp_path, "a-waiting", waits_for="training", evaluate=9)
    cells = [waiting, fake(tmp_path, "short", evaluate=2), fake(tmp_path, "long", evaluate=8), training]
    outcome, heard = driven(planned(tmp_path, cells), slots=1)
    assert outcome.code == 0
    assert [label for label, _ in heard.began_at] == ["training", "long", "short", "a-waiting"]


def test_what_waits_for_a_cell_that_failed_is_not_begun(tmp_path: Path) -> None:
    cells = [fake(tmp_path, "training", FAILS), fake(tmp_path, "waiting", waits_for="training")]
    outcome, heard = driven(planned(tmp_path, cells))
    assert outcome.code == 1
    assert heard.began_at == [("training", "")]
    assert outcome.states[1].reason == "training is first (failed)"


def test_one_cell_at_a_time_has_a_slot_with_its_environment(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n}", {"seconds": 0.02 * (n % 3)}) for n in range(9)]
    slots = [Slot({"CUDA_VISIBLE_DEVICES": str(n)}, str(n)) for n in range(3)]
    outcome, heard = driven(planned(tmp_path, cells), slots=slots)
    assert outcome.code == 0
    assert not doubles(tmp_path)  # a fake holds a lock of its GPU
    found = {cell.label: starts(tmp_path, cell.label)[0] for cell in cells}
    assert {f"GPU {one['gpu']}" for one in found.values()} == {"GPU 0", "GPU 1", "GPU 2"}
    assert {label: f"GPU {one['gpu']}" for label, one in found.items()} == dict(heard.began_at)
    assert {one["threads"] for one in found.values()} == {"1"}


def test_the_log_says_what_was_started_and_how_it_ended(tmp_path: Path) -> None:
    cell = fake(tmp_path, "one", KILLED, FULL | {"after": 3}, {})
    folder = planned(tmp_path, [cell])
    outcome, _ = driven(folder, slots=[Slot({"CUDA_VISIBLE_DEVICES": "7"}, "7")])
    assert outcome.code == 0
    lines = (cell_folder(folder, cell) / "log.txt").read_text().splitlines()
    ends = [line.partition("Z ")[2] or line.split(" ", 2)[2] for line in lines if "exit code" in line]
    assert ends == ["exit code -9: killed by SIGKILL", "exit code 75: it may succeed later", "exit code 0: done"]
    assert sum(", GPU 7" in line and f"process {os.getpid()}" in line for line in lines) == 3
    typed = next(line.removeprefix("# $ ") for line in lines if line.startswith("# $ "))
    assert "CUDA_VISIBLE_DEVICES=7" in typed
    assert typed.endswith(f"fake_run.py run --threads 1 {tmp_path}/fakes/one --identity {cell.identity}")
    assert os.waitstatus_to_exitcode(os.system(f"{typed} > /dev/null")) == 0  # it can be pasted
    attempts = read_attempts(cell_folder(folder, cell))
    assert [(a.code, a.done_before, a.done_after, a.excused, a.gpu) for a in attempts] == [
        (-9, 0, 2, False, "7"),
        (75, 2, 3, True, "7"),
        (0, 3, 4, False, "7"),
    ]


def test_a_cell_that_somebody_has_is_waited_for_or_not(tmp_path: Path) -> None:
    cell = fake(tmp_path, "one")
    folder = planned(tmp_path, [cell, fake(tmp_path, "other")])
    with held(cell_folder(folder, cell)):
        outcome, heard = driven(folder, wait=False)
        assert (outcome.code, heard.began_at) == (75, [("other", "")])
    third = fake(tmp_path, "third")
    folder = planned(tmp_path, [cell, third])
    with held(tmp_path / cell.folder):  # made by a command of its own, which has written nothing yet
        waiting = driver(folder)
        until(lambda: starts(tmp_path, "third"))
        until(lambda: state_of(tmp_path, folder, read_plan(folder), third).state == "done")
        assert waiting.poll() is None
        assert not starts(tmp_path, "one")
    assert json.loads(waiting.communicate()[0])["left"] == 0
    assert waiting.returncode == 0
    assert len(starts(tmp_path, "one")) == 1
    assert [a.code for a in read_attempts(cell_folder(folder, cell))] == [0]
