import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsseg_bench.storage.holder import holder
from fsseg_bench.storage.lock import FolderLock
from tests.support.locking import CALM, QUICK, holding, run

ASK = "found = holder(folder)\nprint(found and (found.host, found.process))"


def test_nobody(tmp_path: Path) -> None:
    assert holder(tmp_path / "none") is None
    assert holder(tmp_path) is None
    FolderLock(tmp_path).release()
    assert holder(tmp_path) is None


def test_who_asks_of_its_own_lock_keeps_it(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        found = holder(tmp_path)
        assert (found and found.process) == os.getpid()
        assert found is not None
        assert f"process {os.getpid()}, this one, since " in found.words
        assert "another process is writing" in run(
            "try:\n    take()\nexcept LockedError as error:\n    print(error)", tmp_path
        )


def test_asking_does_not_disturb_another_process(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        for _ in range(3):
            found = holder(tmp_path)
            assert (found and found.process) == other.pid
            assert found is not None
            assert found.since
        assert other.check() == "mine"
        other.process.kill()
        other.process.wait()
        assert holder(tmp_path) is None


@pytest.mark.parametrize("kind", ["", "no-locks", "local-locks"])
def test_a_writer_on_another_machine_is_seen_by_its_note_while_it_beats(tmp_path: Path, kind: str) -> None:
    with holding(tmp_path, "node7", kind, CALM) as other:
        assert run(ASK, tmp_path, "node8", kind) == f"('node7', {other.pid})\n"
    with holding(tmp_path, "node7", kind, QUICK) as other:
        other.process.kill()
    while run(ASK, tmp_path, "node8", kind) != "None\n":  # half a second
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["", "no-locks"])
def test_a_suspended_writer_of_this_machine_has_its_lock(tmp_path: Path, kind: str) -> None:
    with holding(tmp_path, "", kind) as other:
        other.process.send_signal(signal.SIGSTOP)
        time.sleep(8 * QUICK)
        assert run("found = holder(folder)\nprint(found and found.process)", tmp_path, "", kind) == f"{other.pid}\n"


def test_a_lock_without_a_note_names_the_process(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True)"
    )
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", f"{code}; sys.stdin.read()", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        note = {"host": "node7", "boot": "x", "space": "", "process": 1, "started": "", "job": None, "since": ""}
        (tmp_path / ".lock-1").write_text("{")  # and one that cannot be read does not matter
        found = holder(tmp_path)
        assert (found and found.process) == other.pid
        (tmp_path / ".lock-1").write_text(json.dumps(note | {"beat": 10, "system": True}))
        found = holder(tmp_path)
        assert (found and found.host) == "node7"  # who watches whether this one still writes has the lock meanwhile
        other.communicate()
