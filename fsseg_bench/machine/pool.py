"""Tasks done side by side by processes that live for many of them: who does which, what is heard, how all of it ends.

What a task is, only its function knows (see :mod:`fsseg_bench.machine.pool_worker`): there is no torch here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from fsseg_bench.machine.pool_worker import PATIENCE, Begin, Done, Ended, Failure, Stop, Told

_LOOK = 1.0
"""Seconds between two looks whether a process still lives: its own children may keep its end of the pipe open."""
_LEEWAY = 5.0
"""Seconds that a process has to end after it has run out of patience with its task."""
_CHUNK = 2**16
_LAST_LINES = 3
_START = (
    "import json, sys; path, sys.argv = json.loads(sys.argv[2]); sys.path[:] = path; "
    "from fsseg_bench.machine.pool_worker import serve; serve({handle}, {target!r})"
)
"""The parent's module search path and command line come first: records name the command."""


class Listener:
    """Is told what becomes of tasks, in the thread that called :meth:`Pool.run`; tasks are numbered from 0."""

    def began(self, task: int) -> None:
        """A process has got the task."""

    def told(self, task: int, event: Any) -> None:
        """The task's function told something."""

    def printed(self, task: int, line: str) -> None:
        """The task's process wrote a line on its standard output or error."""

    def ended(self, task: int, outcome: Done | Failure) -> None:
        """The task is done, or has failed."""


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    output: int
    """Where its standard output and error can be read, without waiting."""
    task: int | None = None
    text: bytes = b""
    """The beginning of a line that it is printing."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    """The lines that it printed last."""

    def messages(self) -> Iterator[Told | Ended]:
        """What it has told since; without waiting."""
        while True:
            try:
                if not self.connection.poll():
                    return
                message = self.connection.recv()
            except (EOFError, OSError):  # it has closed its end, and is about to be dead
                self.process.wait()
                return
            yield message

    def lines(self, *, to_the_end: bool = False) -> Iterator[str]:
        """What it has printed since, line by line; without waiting."""
        while chunk := _read(self.output):
            self.text += chunk
        *whole, self.text = self.text.split(b"\n")
        if to_the_end:
            whole, self.text = [*whole, self.text], b""
        for line in whole:
            if text := line.decode(errors="replace").rpartition("\r")[2].rstrip():  # the last state of a bar
                self.last.append(text)
                yield text


def _read(handle: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(handle, _CHUNK)
    return b""


class Pool(AbstractContextManager["Pool"]):
    """Processes, one a slot, until the ``with`` statement ends; each does one task at a time.

    They end with this process, however it ends: a task that is being done is then interrupted as by Ctrl-C. They
    themselves pay no heed to Ctrl-C, which a terminal sends to all: this process tells them to stop.
    """

    def __init__(self, target: str, slots: Sequence[Mapping[str, str]], less: str = "") -> None:
        """Starts the processes.

        Args:
            target: ``module:name`` of what, called without arguments, gives the function of a task. It is called once
                in each process; see :data:`fsseg_bench.machine.pool_worker.Work`.
            slots: for each process what its environment has beside this one's.
            less: what a user may do so that less memory is needed, in words.

        Raises:
            OSError: a process cannot be started.
        """
        self._workers: list[_Worker] = []
        self._less = less
        self._signals = _terminable()
        self._signals.__enter__()
        try:
            for slot in slots:
                self._workers.append(_started(target, slot))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def run(self, tasks: Sequence[Any], listener: Listener, order: Sequence[int] | None = None) -> list[Done | None]:
        """Does the tasks, in their order or in ``order``, each in the first slot that is free.

        A failure does not keep other tasks from being begun, unless it says that they would fail, too, or a process
        died. An interrupt, and whatever ``listener`` raises, leaves tasks undone; leave the ``with`` statement then.

        Returns:
            What was done of each task; None where it failed or was not begun.
        """
        waiting = deque(range(len(tasks)) if order is None else order)
        results: list[Done | None] = [None] * len(tasks)
        while True:
            for worker in self._workers:
                if worker.task is None and waiting and worker.process.poll() is None:
                    worker.task = waiting.popleft()
                    listener.began(worker.task)
                    with suppress(OSError):  # it has died: the next look finds that
                        worker.connection.send(Begin(tasks[worker.task]))
            busy = [(worker, worker.task) for worker in self._workers if worker.task is not None]
            if not busy:
                return results
            for worker, task in self._heard_of(busy):
                if outcome := self._news(worker, task, listener):
                    worker.task = None
                    listener.ended(task, outcome)
                if isinstance(outcome, Done):
                    results[task] = outcome
                elif outcome and outcome.of_all:
                    waiting.clear()

    def _heard_of(self, busy: Sequence[tuple[_Worker, int]]) -> list[tuple[_Worker, int]]:
        """Waits a moment, or until a process says or prints something, or dies; those that did, with their tasks."""
        ready = {*wait([place for worker, _ in busy for place in (worker.connection, worker.output)], _LOOK)}
        return [
            (worker, task)
            for worker, task in busy
            if {worker.connection, worker.output} & ready or worker.process.poll() is not None
        ]

    def _news(self, worker: _Worker, task: int, listener: Listener) -> Done | Failure | None:
        """Passes on what the process of a task tells and prints; what became of the task, when that is known."""
        outcome: Done | Failure | None = None
        dead = worker.process.poll() is not None  # before its messages are read: none comes after them
        for message in worker.messages():
            if isinstance(message, Told):
                listener.told(task, message.event)
            elif isinstance(message, Ended):
                outcome = message.outcome
        for line in worker.lines(to_the_end=dead or outcome is not None):  # after its messages: it printed before
            listener.printed(task, line)
        return outcome or (_death(worker, self._less) if dead else None)

    def __exit__(self, *error: object) -> None:
        """Ends the processes, in an orderly way where they can; a second interrupt meanwhile kills them."""
        try:
            for worker in self._workers:
                with suppress(OSError):
                    worker.connection.send(Stop())
                worker.connection.close()
            limit = time.monotonic() + PATIENCE + _LEEWAY
            for worker in self._workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(limit - time.monotonic(), 0.0))
        finally:
            for worker in self._workers:
                if worker.process.poll() is None:
                    worker.process.kill()
                    worker.process.wait()
                os.close(worker.output)
            self._workers = []
            self._signals.__exit__(None, None, None)


def _started(target: str, slot: Mapping[str, str]) -> _Worker:
    ours, theirs = Pipe()
    code = _START.format(handle=theirs.fileno(), target=target)
    place = json.dumps([[str(folder) for folder in sys.path], sys.argv])
    output, theirs_to_write = os.pipe()
    os.set_blocking(output, False)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "-", place],
            env={**os.environ, **slot},
            stdin=subprocess.DEVNULL,
            stdout=theirs_to_write,
            stderr=theirs_to_write,
            pass_fds=[theirs.fileno()],
        )
    except BaseException:
        ours.close()
        os.close(output)
        raise
    finally:
        theirs.close()
        os.close(theirs_to_write)
    return _Worker(process, ours, output)


def _death(worker: _Worker, less: str) -> Failure:
    """What a process that ended in the middle of its task leaves to be said; and what needs ``less`` memory."""
    code = worker.process.wait()
    reason = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        reason += f", perhaps by the system for want of memory{less and f' ({less})'}"
    last = f"; its last words: {' / '.join(worker.last)}" if worker.last else ""
    return Failure(f"its process {reason}{last}", of_all=True, later=True)


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM, where it would end this process at once, end it after the body has tidied up."""
    theirs = threading.current_thread() is not threading.main_thread()
    if theirs or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    come: list[int] = []

    def terminate(number: int, _frame: object) -> None:
        come.append(number)
        if len(come) == 1:
            raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if come:
            os.kill(os.getpid(), signal.SIGTERM)
