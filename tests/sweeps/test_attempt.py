"""One attempt at a cell, by this process."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fsseg_bench.errors import LATER, TERMINATED
from fsseg_bench.sweeps.attempt import attempt
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.plan import cell_folder, read_plan
from tests.support.fakes import FAKE, fake, starts, until
from tests.support.locking import holding
from tests.support.sweeps import held, planned


def test_a_cell_whose_record_a_command_has_just_begun_is_left_to_it(tmp_path: Path) -> None:
    """It has the lock of the record's folder, and has written nothing there."""
    cell = fake(tmp_path, "one")
    folder = planned(tmp_path, [cell])
    with held(tmp_path / cell.folder):
        code = attempt(folder, read_plan(folder), cell, engine="local", stop=threading.Event(), program=FAKE)
    assert (code, read_attempts(cell_folder(folder, cell)), starts(tmp_path, "one")) == (LATER, [], [])


def test_who_is_stopped_while_it_waits_for_the_claim_begins_nothing(tmp_path: Path) -> None:
    """Another machine's writer was killed: whether it still lives is waited for."""
    cell = fake(tmp_path, "one")
    folder, stop = planned(tmp_path, [cell]), threading.Event()
    with holding(cell_folder(folder, cell), "other") as writer:
        writer.process.kill()
        writer.process.wait()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    code = attempt(folder, read_plan(folder), cell, engine="local", stop=stop, program=FAKE)
    timer.join()
    assert (code, read_attempts(cell_folder(folder, cell)), starts(tmp_path, "one")) == (TERMINATED, [], [])


@pytest.mark.parametrize("over", [False, True])
def test_who_is_preempted_loses_no_attempt_and_whose_time_is_over_does(tmp_path: Path, over: bool) -> None:
    cell = fake(tmp_path, "one", {"after": 1, "hangs": True})
    folder, stop, limit = planned(tmp_path, [cell]), threading.Event(), threading.Event()

    def end() -> None:
        until(lambda: (tmp_path / cell.folder / "episodes.jsonl").exists())
        if over:
            limit.set()
        stop.set()

    ending = threading.Thread(target=end)
    ending.start()
    code = attempt(folder, read_plan(folder), cell, engine="slurm", stop=stop, limit=limit, program=FAKE)
    ending.join()
    assert code == TERMINATED
    assert [(one.code, one.excused) for one in read_attempts(cell_folder(folder, cell))] == [(TERMINATED, not over)]
