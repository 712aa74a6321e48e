"""One attempt at a cell: a process of its own that makes the run, followed until it ends, with its log."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fsseg_bench.errors import BUG, LATER, MISTAKE, STOPPED, TERMINATED, FullDiskError, LaterError
from fsseg_bench.machine.here import here
from fsseg_bench.machine.lifeline import Lifeline
from fsseg_bench.storage.files import writing
from fsseg_bench.storage.lock import FolderLock
from fsseg_bench.sweeps.attempts import LOG_FILE, append_lines, begin_attempt, end_attempt, now
from fsseg_bench.sweeps.plan import Cell, Plan, cell_folder, records_of
from fsseg_bench.sweeps.states import FAILED_CODES, record_holder, state_of, steps_done

PROGRAM: Final = (sys.executable, "-P", "-m", "fsseg_bench")
"""What a cell's words are given to. ``-P``: the current folder may hold a package of the same name."""
PATIENCE: Final = 30.0
"""Seconds that a cell has for a checkpoint after it was told to stop."""
_LOOK = 0.05
"""Seconds between two looks whether a cell has ended."""
_MEANINGS = {
    0: "done",
    MISTAKE: "it would fail again: a wrong option, data that were refused, a loss that is no number",
    BUG: "a bug",
    LATER: "it may succeed later",
    STOPPED: "stopped, and goes on from there",
    TERMINATED: "stopped, and goes on from there",
}
_FULL_DISK = tuple(
    words.encode() for words in ("the disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
)
_TAIL = 4096


def attempt(
    folder: Path,
    plan: Plan,
    cell: Cell,
    *,
    engine: str,
    stop: threading.Event,
    kill: threading.Event | None = None,
    limit: threading.Event | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    gpu: str | None = None,
    program: Sequence[str] = PROGRAM,
) -> int:
    """Makes a cell of the sweep in ``folder``, unless it is done or somebody else is at it; waits for its end.

    Several threads may do this at the same time, and none of them needs signals. The process ends when this one dies.

    Args:
        folder: of the sweep.
        plan: of the sweep.
        cell: of the plan.
        engine: the name of what makes cells.
        stop: when it is set, the process gets SIGTERM, and SIGKILL if it does not end in :data:`PATIENCE`.
        kill: when it is set after that, the process gets SIGKILL at once.
        limit: whether ``stop`` was set since the cell's time is over: then the attempt counts, for the time may be too
            short for any progress. Whoever else stops a sweep says nothing of its cells.
        environment: what that of the process has beside this one's.
        gpu: which GPU that is, as ``0``.
        program: what gets the words of the cell's command.

    Returns:
        The exit code of the process, minus the number of the signal that killed it; 0 where the cell is done already,
        75 where somebody else is at it or no attempt could be noted for want of room on the disk, 143 where ``stop``
        was set before it began.

    Raises:
        UserError: the cell's folder in the sweep cannot be written.
    """
    if stop.is_set():
        return TERMINATED
    own, root = cell_folder(folder, cell), records_of(folder)
    try:
        with FolderLock(own, "making this cell", "wait for it"):
            if stop.is_set():  # the lock may have been waited for
                return TERMINATED
            before = state_of(root, folder, plan, cell)
            if before.state == "done":
                return 0
            if record_holder(root, cell, before.folder) is not None:  # a command of its own, say
                return LATER
            begin_attempt(own, engine, steps_done(before), gpu)
            start = _begun(own / LOG_FILE)
            variables = {**_variables(cell), **environment}
            command = [*program, *cell.command, "--identity", cell.identity]
            _say(own / LOG_FILE, _place(gpu), f"$ {_typed(command, variables)}")
            code = _followed(command, variables, own / LOG_FILE, stop, kill or threading.Event())
            _say(own / LOG_FILE, f"exit code {code}: {_meaning(code)}")
            # who stops a sweep while its cells still load, or preempts them, must not use up their attempts
            in_time = limit is None or not limit.is_set()
            stopped = stop.is_set() and in_time and code not in {0, *FAILED_CODES}
            excused = stopped or (code == LATER and _disk_was_full(own / LOG_FILE, start))
            with suppress(FullDiskError):  # an attempt without an end is one whose end nobody saw
                end_attempt(own, code, steps_done(state_of(root, folder, plan, cell)), excused=excused)
            return code
    except LaterError:
        return LATER


def _variables(cell: Cell) -> dict[str, str]:
    """What the environment of a cell has beside this one's: its threads, and where the same modules are found."""
    threads = str(cell.threads)
    found = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    path = module_path()
    return found | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def module_path() -> list[str]:
    """Where this process looks for modules, but for what its interpreter knows by itself."""
    known = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    folders = dict.fromkeys(Path(entry).absolute() for entry in sys.path if not entry.endswith(".zip"))
    return [str(folder) for folder in folders if not any(folder.is_relative_to(one) for one in known)]


def _begun(log: Path) -> int:
    """How long the log is before anything of this attempt is in it."""
    return log.stat().st_size if log.exists() else 0


def _say(log: Path, *lines: str) -> None:
    """Adds lines to a log that are told from those of the cell by their beginning. On a full disk they are missing."""
    with suppress(FullDiskError):
        append_lines(
            log, "\n".join(f"# {line}" if number else f"# {now()} {line}" for number, line in enumerate(lines))
        )


def _place(gpu: str | None) -> str:
    place = here()
    where = (f"on {place.host}", f"process {place.process}", place.job, gpu and f"GPU {gpu}")
    return ", ".join(filter(None, where))


def _typed(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """The command as it can be given to a shell."""
    return shlex.join(["env", *(f"{name}={value}" for name, value in variables.items()), *command])


def _meaning(code: int) -> str:
    if code >= 0:
        return _MEANINGS.get(code, "none that fsseg-bench gives")
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _followed(
    command: Sequence[str], variables: Mapping[str, str], log: Path, stop: threading.Event, kill: threading.Event
) -> int:
    """Starts the process and waits for its end."""
    with Lifeline() as line, writing(log), log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command,
                env={**os.environ, **variables, **line.environment},
                pass_fds=line.pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # a terminal sends Ctrl-C to all of a group: this process decides who stops, and how
            )
        except OSError as error:  # no memory or too many processes, say
            output.write(f"error: {command[0]}: cannot be started: {error.strerror or error}\n".encode())
            return LATER
        try:
            return _waited(process, stop, kill)
        finally:
            if process.poll() is None:
                _kill(process)


def _waited(process: subprocess.Popen[bytes], stop: threading.Event, kill: threading.Event) -> int:
    while process.poll() is None and not stop.wait(_LOOK):
        pass
    if process.poll() is None:
        process.terminate()
        limit = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < limit and not kill.wait(_LOOK):
            pass
        if process.poll() is None:
            _kill(process)
    return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With the processes that load its images."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _disk_was_full(log: Path, start: int) -> bool:
    """Whether the process said so at its end; what it says is in the log from ``start`` on."""
    with suppress(OSError), log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL))
        text = file.read()
        return any(words in text for words in _FULL_DISK)
    return False
