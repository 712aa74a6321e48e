"""How a driver ends when it is stopped or killed, and how another one goes on; cells are processes without work."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from fsseg_bench.errors import FullDiskError, LaterError
from fsseg_bench.sweeps import room as rooms
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.plan import Cell, cell_folder, read_plan
from fsseg_bench.sweeps.room import Room, check_room, free_bytes
from fsseg_bench.sweeps.states import states_of
from tests.machine.test_pool import ended
from tests.support.fakes import SECONDS, doubles, driven, driver, episodes, fake, starts, until
from tests.support.sweeps import planned

SLOW = {"seconds": 0.05}
HANGS = {"after": 1, "hangs": True}
DEAF = {"after": 1, "hangs": "deaf"}
FULL = {"after": 1, "code": 75, "says": "error: x: the disk is full (No space left on device). Make room"}


def at_work(root: Path, *cells: Cell) -> list[int]:
    """The processes of the cells, as soon as each has left an episode."""
    until(lambda: all((root / cell.folder / "episodes.jsonl").exists() for cell in cells))
    return [starts(root, cell.label)[-1]["process"] for cell in cells]


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143)],
)
def test_a_signal_stops_the_cells_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, group: bool, code: int
) -> None:
    cells = [*(fake(tmp_path, f"c{n}", HANGS, {}) for n in range(2)), fake(tmp_path, "c2")]
    folder = planned(tmp_path, cells)
    process = driver(folder)
    pids = at_work(tmp_path, *cells[:2])
    (os.killpg if group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    assert all(ended(pid, 0.0) for pid in pids)
    assert json.loads(out) == {"left": 3, "ended": [[f"c{n}", 143, "stopped"] for n in range(2)]}
    assert [(a.code, a.excused) for a in read_attempts(cell_folder(folder, cells[0]))] == [(143, True)]
    outcome, _ = driven(folder)
    assert outcome.code == 0
    assert [episodes(tmp_path, cell) for cell in cells] == [[0, 1, 2, 3]] * 3


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n}", DEAF) for n in range(2)]
    process = driver(planned(tmp_path, cells))
    pids = at_work(tmp_path, *cells)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert all(ended(pid, 0.0) for pid in pids)
    assert {code for _, code, _ in json.loads(out)["ended"]} == {-signal.SIGKILL}


@pytest.mark.slow
def test_no_cell_outlives_a_killed_driver_and_another_driver_takes_over(tmp_path: Path) -> None:
    cells = [fake(tmp_path, "deaf", DEAF, {}), *(fake(tmp_path, f"c{n}", HANGS, {}) for n in range(2))]
    cells.append(fake(tmp_path, "c2"))
    folder = planned(tmp_path, cells)
    first = driver(folder, slots=2)
    pids = at_work(tmp_path, *cells[:2])
    second = driver(folder, slots=1)
    at_work(tmp_path, cells[2])
    first.kill()
    first.communicate()
    killed = time.monotonic()
    assert all(ended(pid) for pid in pids)
    assert time.monotonic() - killed < 60  # the deaf one is ended 10 s later
    os.kill(starts(tmp_path, "c1")[-1]["process"], signal.SIGTERM)  # what the second driver hangs on
    out, err = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, err
    assert json.loads(out)["left"] == 0
    assert not doubles(tmp_path)
    assert [episodes(tmp_path, cell) for cell in cells] == [[0, 1, 2, 3]] * 4


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n:02}", SLOW) for n in range(12)]
    folder = planned(tmp_path, cells)
    both = [driver(folder, slots=2) for _ in range(2)]
    outs = [json.loads(process.communicate(timeout=SECONDS)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert not doubles(tmp_path)
    assert [len(starts(tmp_path, cell.label)) for cell in cells] == [1] * 12
    made = [sum(code == 0 for _, code, _ in out["ended"]) for out in outs]
    assert min(made) > 0
    assert all(out["left"] == 0 for out in outs)


def test_a_full_disk_is_nobodys_fault(tmp_path: Path) -> None:
    """Four times, with two retries: the last attempt is made by the same command again, when there is room."""
    cells = [fake(tmp_path, "one", *[FULL | {"after": 0}] * 3, {}), fake(tmp_path, "other")]
    folder = planned(tmp_path, cells)
    outcome, _ = driven(folder)
    assert outcome.code == 75
    assert [state.state for state in outcome.states] == ["stopped", "done"]
    assert [a.excused for a in read_attempts(cell_folder(folder, cells[0]))] == [True] * 3
    assert driven(folder)[0].code == 0


def test_a_disk_without_room_for_a_note_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a quota is used up: the disk itself seems to have room."""

    def refuse(*_: object) -> None:
        raise FullDiskError("attempts.jsonl: the disk is full")

    folder = planned(tmp_path, [fake(tmp_path, "one")])
    with monkeypatch.context() as patched:
        patched.setattr("fsseg_bench.sweeps.attempt.begin_attempt", refuse)
        outcome, heard = driven(folder)
    assert (outcome.code, heard.ended_as) == (75, [("one", 75, "waiting")] * 3)
    assert driven(folder)[0].code == 0


def test_no_cell_begins_without_room(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n}", SLOW, bytes=1000) for n in range(3)]
    folder = planned(tmp_path, cells)
    outcome, heard = driven(folder, room=Room(tmp_path, reserve=500, free=lambda _: 1499))
    assert (outcome.code, outcome.attempts) == (75, 0)
    assert len(heard.said) == 1
    assert "1.5 kB are free on the disk" in heard.said[0]
    assert "the next 1.0 kB" in heard.said[0]
    outcome, heard = driven(folder, room=Room(tmp_path, reserve=500, free=lambda _: 1500))  # one at a time
    assert outcome.code == 0
    assert len(heard.said) >= 1
    order = [len(heard.began_at), outcome.attempts]
    assert order == [3, 3]


def test_a_sweep_that_will_not_find_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [fake(tmp_path, f"c{n}", bytes=10**6) for n in range(3)]
    folder = planned(tmp_path, cells)
    free = free_bytes(tmp_path / "not" / "there")
    assert free == pytest.approx(free_bytes(tmp_path), rel=0.5)
    check_room(tmp_path, states_of(folder))
    monkeypatch.setattr(rooms, "free_bytes", lambda _: rooms.RESERVE + 2 * 10**6)
    with pytest.raises(LaterError, match=r"3 cells will write about 3\.0 MB, 268.4 MB are .*, and 270\.4 MB"):
        check_room(tmp_path, states_of(folder))
    driven(folder)
    check_room(tmp_path, states_of(folder))


@pytest.mark.slow
def test_many_cells_that_are_killed_at_random_are_neither_lost_nor_made_twice(tmp_path: Path) -> None:
    """Two drivers; every so often a cell that is at work gets SIGKILL, and one driver does, twice."""
    count, seed = 200, random.Random(0)
    cells = [fake(tmp_path, f"c{n:03}", {"seconds": 0.02}, evaluate=6) for n in range(count)]
    folder = planned(tmp_path, cells, retries=20)
    drivers = [driver(folder, slots=3) for _ in range(2)]
    kills, over = [0], threading.Event()

    def killing() -> None:
        while not over.wait(seed.uniform(0.0, 0.15)):
            busy = [s for s in states_of(folder, read_plan(folder)) if s.state == "running" and s.evaluated > 0]
            for state in seed.sample(busy, min(len(busy), 2)):
                assert state.holder is not None
                if state.holder.process not in {process.pid for process in drivers}:  # who has the claim only
                    kills[0] += _killed(state.holder.process)

    killer = threading.Thread(target=killing)
    killer.start()
    try:
        for victim, done in ((0, 40), (1, 80)):
            until(lambda done=done: sum(s.state == "done" for s in states_of(folder)) >= done)
            drivers[victim].kill()
            drivers[victim].communicate()
            drivers.append(driver(folder, slots=3))
        outs = [json.loads(process.communicate(timeout=SECONDS)[0]) for process in drivers[2:]]
    finally:
        over.set()
        killer.join()
        for process in drivers:
            process.kill()
            process.communicate()
    assert [process.returncode for process in drivers[2:]] == [0, 0]
    assert [out["left"] for out in outs] == [0, 0]
    assert not doubles(tmp_path)
    assert all(episodes(tmp_path, cell) == [*range(6)] for cell in cells)
    attempts = [read_attempts(cell_folder(folder, cell)) for cell in cells]
    assert all(sum(a.code == 0 for a in ones) <= 1 for ones in attempts)  # none: killed when its record was done
    killed = sum(a.code == -signal.SIGKILL for ones in attempts for a in ones)
    print(f"\n{count} cells, {kills[0]} killed ({killed} seen), 2 drivers killed, ", end="")
    print(f"{sum(map(len, attempts))} attempts, {max(map(len, attempts))} for one cell")
    assert kills[0] >= 30
    assert killed <= kills[0]


def _killed(process: int) -> bool:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
