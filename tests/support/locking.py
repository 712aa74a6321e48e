"""Processes that take locks on pretended machines and file systems."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.fresh import ROOT

QUICK: Final = 0.1
"""Seconds between the beats of a writer that will fall silent: who watches waits for three and a half."""
CALM: Final = 1.5
"""Of one that is watched while it lives, which takes one beat: a busy machine may delay it by two more."""

_PRETEND = """
import errno, fcntl, os, sys, time
from pathlib import Path
import fsseg_bench.machine.here as machine
machine_name, kind = sys.argv[1:3]
if machine_name:
    machine.boot, machine.host = (lambda: f"boot of {machine_name}"), (lambda: machine_name)
if kind == "no-locks":
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")
    fcntl.lockf = fcntl.fcntl = refuse
elif kind == "local-locks":  # every machine has its own, which is the only one that asks here
    real = fcntl.fcntl
    fcntl.lockf = lambda *_: None
    fcntl.fcntl = lambda *a: b"\\x02" + bytes(31) if a[1] == fcntl.F_GETLK else real(*a)  # F_UNLCK
from fsseg_bench.errors import LockedError
from fsseg_bench.storage.holder import holder
from fsseg_bench.storage.lock import FolderLock
folder = Path(sys.argv[3])
said = []
def take(beat=float(sys.argv[4])):
    return FolderLock(folder, say=said.append, beat=beat)
"""
HOLD: Final = """
lock = take()
print("held", flush=True)
for line in sys.stdin:
    try:
        lock.check()
        print("mine", flush=True)
    except LockedError as error:
        print(error, flush=True)
lock.release()
"""


def arguments(code: str, folder: Path, machine: str = "", kind: str = "", beat: float = QUICK) -> list[str]:
    """The command that runs the code on a machine of this name (else this one), with ``take`` and ``holder``.

    The file system has locks, ``no-locks``, or ``local-locks`` that do not reach other machines.
    """
    return [sys.executable, "-c", _PRETEND + code, machine, kind, str(folder), str(beat)]


def run(code: str, folder: Path, machine: str = "", kind: str = "") -> str:
    """What the code prints."""
    done = subprocess.run(arguments(code, folder, machine, kind), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Holding:
    """A process that has a lock."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def check(self) -> str:
        """``mine``, or why it is not any more."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """Releases the lock."""
        self.process.communicate()


@contextmanager
def holding(folder: Path, machine: str = "", kind: str = "", beat: float = QUICK) -> Iterator[Holding]:
    """A process that has the lock of the folder until the block ends, or it is killed."""
    with subprocess.Popen(
        arguments(HOLD, folder, machine, kind, beat),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield Holding(process)
        finally:
            process.kill()
