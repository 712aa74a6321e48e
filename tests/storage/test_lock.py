import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fsseg_bench.errors import FullDiskError, UserError
from fsseg_bench.records.info import moved_aside
from fsseg_bench.storage import lock, lock_file, lock_note
from fsseg_bench.storage.lock import LOCK_NAME, FolderLock
from tests.support.fresh import ROOT
from tests.support.locking import CALM, QUICK, arguments, holding, run

HOLDER = """
import os, sys, time
from pathlib import Path
from fsseg_bench.storage.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.stdin.read()  # like a loader worker that outlives its parent: until the test closes the pipe
    os._exit(0)
print("locked", flush=True)
time.sleep(60)
"""


def test_makes_the_folder_and_can_be_taken_again_after_release(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    lock = FolderLock(folder)
    lock.release()
    lock.release()
    FolderLock(folder).release()
    assert (folder / LOCK_NAME).exists()


def test_a_second_writer_in_the_same_process_is_refused_and_does_not_break_the_first(tmp_path: Path):
    lock = FolderLock(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"another process is writing .*this one"):
            FolderLock(tmp_path)
    code = "import sys; from pathlib import Path; from fsseg_bench.storage.lock import *; FolderLock(Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "another process is writing" in other.stderr
    lock.release()


@pytest.mark.parametrize("mode", ["alone", "fork"])
def test_another_process_is_refused_until_it_is_killed(tmp_path: Path, mode: str):
    command = [sys.executable, "-c", HOLDER, str(tmp_path), mode]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"locked\n"
        try:
            with pytest.raises(UserError, match=rf"another process is writing \(.*process {holder.pid}, since .*UTC\)"):
                FolderLock(tmp_path)
        finally:
            holder.kill()  # SIGKILL
            holder.wait()
        FolderLock(tmp_path).release()


def test_a_folder_renamed_between_opening_and_locking_is_noticed(tmp_path: Path, monkeypatch):
    folder, moved = tmp_path / "run", tmp_path / "moved"
    real = fcntl.lockf
    calls = []

    def lockf(handle: int, flags: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            folder.rename(moved)
        real(handle, flags)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    lock = FolderLock(folder)
    assert len(calls) == 2
    assert (folder / LOCK_NAME).exists()
    lock.release()


def test_a_file_in_the_way(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        FolderLock(tmp_path / "file" / "run")


TAKE = """
try:
    lock = take()
    print("taken", *said)
except LockedError as error:
    print(error, *said)
"""
KINDS = ["", "no-locks", "local-locks"]


def others(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".lock-*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_released_lock_is_free_at_once_and_leaves_no_note(tmp_path: Path, kind: str) -> None:
    with holding(tmp_path, "node7", kind) as holder:
        assert others(tmp_path) == [".lock-1"]
        holder.end()
    assert others(tmp_path) == []
    assert run(TAKE, tmp_path, "node8", kind) == "taken\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_on_another_machine_is_named_and_keeps_others_out(tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with holding(tmp_path, "node7", kind, CALM) as holder:
        monkeypatch.delenv("SLURM_JOB_ID")
        words = run(TAKE, tmp_path, "node8", kind)
        assert f"another process is writing (node7, process {holder.pid}, slurm 12, since " in words
        assert ("waiting up to 5 s to see whether it still writes there" in words) == (kind != "")
        assert holder.check() == "mine"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("machine", ["node7", "node8"])
def test_a_killed_writer_is_followed_at_once_on_its_machine_and_elsewhere_when_it_is_silent(
    tmp_path: Path, kind: str, machine: str
) -> None:
    with holding(tmp_path, "node7", kind) as holder:
        holder.process.kill()
        holder.process.wait()
    words = run(TAKE, tmp_path, machine, kind)
    assert words.startswith("taken")
    assert ("node7, process" in words) == (machine != "node7")
    assert others(tmp_path) == [".lock-2"]  # the process ended with its lock


@pytest.mark.parametrize("kind", KINDS)
def test_a_suspended_writer_keeps_its_lock_on_its_own_machine(tmp_path: Path, kind: str) -> None:
    """On a file system whose locks reach nowhere, every process of this test is a machine of its own."""
    with holding(tmp_path, "node7", kind) as holder:
        holder.process.send_signal(signal.SIGSTOP)
        words = run(TAKE, tmp_path, "node7", kind)
        assert (f"(node7, process {holder.pid}, since" in words) == (kind != "local-locks")
        time.sleep(2 * QUICK)  # a shorter pause is none: the other has neither waited nor needed long
        holder.process.send_signal(signal.SIGCONT)
        assert (holder.check() == "mine") == (kind != "local-locks")


def test_a_writer_that_is_suspended_while_it_looks_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it read is as old as the moment before: another machine may have taken over since."""
    folder, clock, read = os.open(tmp_path, os.O_RDONLY), [100.0], lock_note._content
    monkeypatch.setattr(time, "clock_gettime", lambda _: clock[0])
    note = lock_note.OwnNote(folder, None, system=False, beat=QUICK)

    def read_and_sleep(place: int, name: str) -> bytes:
        found = read(place, name)
        (tmp_path / name).unlink()
        clock[0] += 60
        return found

    with monkeypatch.context() as patch:
        patch.setattr(lock_note, "_content", read_and_sleep)
        assert note.look()
    assert not note.look_after_a_pause()
    os.close(folder)


@pytest.mark.parametrize("kind", ["no-locks", "local-locks"])
def test_a_writer_that_was_suspended_for_long_hears_that_another_machine_took_over(tmp_path: Path, kind: str) -> None:
    with holding(tmp_path, "node7", kind) as first:
        first.process.send_signal(signal.SIGSTOP)
        with holding(tmp_path, "node8", kind) as second:
            first.process.send_signal(signal.SIGCONT)
            assert f"another process (node8, process {second.pid}, since" in first.check()
            first.end()
            assert others(tmp_path) == [".lock-2"]
            assert second.check() == "mine"


RACE = """
def attempt():
    try:
        return take()
    except LockedError:
        return None
print("ready", flush=True)
sys.stdin.readline()
lock = attempt()
print("won" if lock else "lost", flush=True)
sys.stdin.readline()
"""


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "left_behind", "count"),
    [
        ("no-locks", True, 4),
        *(pytest.param(kind, left_behind, 20, marks=SLOW) for kind in KINDS for left_behind in (False, True)),
    ],
)
def test_of_many_that_take_a_lock_at_once_one_wins(tmp_path: Path, kind: str, left_behind: bool, count: int) -> None:
    if left_behind:
        with holding(tmp_path, "node7", kind) as holder:
            holder.process.kill()
    with ExitStack() as stack:
        takers = []
        for i in range(count):
            machine = f"node{i}" if kind == "local-locks" else f"node{i % 4}"
            command = arguments(RACE, tmp_path, machine, kind, CALM)
            taker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            takers.append(stack.enter_context(taker))
            stack.callback(taker.kill)
        streams = [(taker.stdin, taker.stdout) for taker in takers]
        for _, told in streams:
            assert told is not None
            assert told.readline() == "ready\n"
        for given, _ in streams:
            assert given is not None
            given.write("go\n")
            given.flush()
        found = [told.readline() for _, told in streams if told is not None]
    assert sorted(found) == ["lost\n"] * (count - 1) + ["won\n"]


def test_a_note_of_another_process_with_the_same_number_is_left_behind(tmp_path: Path) -> None:
    """As after a restart of a container: the process runs, but began at another time."""
    with holding(tmp_path, "node7", "no-locks") as holder:
        note = json.loads((tmp_path / ".lock-1").read_text())
        holder.process.kill()
    note |= {"process": os.getpid(), "started": "1"}
    (tmp_path / ".lock-1").write_text(json.dumps(note) + "\n")
    assert run(TAKE, tmp_path, "node7", "no-locks") == "taken\n"


def test_an_unreadable_note_is_watched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "BEAT", QUICK)
    (tmp_path / ".lock-3").write_text('{"host": ')
    said: list[str] = []
    with FolderLock(tmp_path, say=said.append):
        assert others(tmp_path) == [".lock-4"]
    assert "another process did not release it" in said[0]


def test_a_folder_that_was_moved_aside_keeps_no_note(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = FolderLock(folder)
    fresh = moved_aside(folder, first)
    assert (others(tmp_path / "run.old-1"), others(folder)) == ([], [".lock-1"])
    fresh.check()
    fresh.release()


def test_one_thread_beats_for_all_locks_and_ends_with_the_last(tmp_path: Path) -> None:
    def beating() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "lock beats"]

    locks = [FolderLock(tmp_path / str(i), beat=0.05) for i in range(3)]
    paths = [tmp_path / str(i) / ".lock-1" for i in range(3)]
    before = [path.stat().st_mtime_ns for path in paths]
    (thread,) = beating()
    locks[0].release()
    while any(path.stat().st_mtime_ns == old for path, old in zip(paths[1:], before[1:], strict=True)):
        time.sleep(0.01)
    assert beating() == [thread]
    for one in locks[1:]:
        one.release()
    thread.join()


def test_a_forked_child_neither_beats_nor_releases(tmp_path: Path) -> None:
    code = """
lock = take()
if os.fork() == 0:
    import threading
    try:
        take()
        print("took it", flush=True)
    except LockedError as error:
        print(error, flush=True)
    print(threading.active_count(), flush=True)
    lock.release()
    os._exit(0)
os.wait()
lock.check()
print(*sorted(os.listdir(folder)))
"""
    refused, threads, names = run(code, tmp_path).splitlines()
    assert "another process is writing (" in refused
    assert (threads, names) == ("1", ".lock .lock-1")


def test_a_full_disk_takes_the_note_but_not_the_lock(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with FolderLock(tmp_path):
        assert others(tmp_path) == []
        monkeypatch.undo()
        assert "another process is writing (" in run(TAKE, tmp_path)
    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(lock_file, "_lock", lambda _: False)
    with pytest.raises(FullDiskError):
        FolderLock(tmp_path)
    assert others(tmp_path) == []
