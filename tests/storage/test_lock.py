import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.storage.lock import LOCK_NAME, FolderLock

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
            with pytest.raises(UserError, match=rf"another process is writing \(process {holder.pid}\)"):
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


def test_a_file_system_without_locks_and_a_file_in_the_way(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        FolderLock(tmp_path / "file" / "run")

    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with pytest.raises(UserError, match="No locks available"):
        FolderLock(tmp_path / "run")
