"""The side of a :class:`fsseg_bench.machine.pool.Pool` that does the tasks: a process of its own."""

from __future__ import annotations

import importlib
import io
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fsseg_bench.errors import STOPPED, FullDiskError, bug_words, explain, later
from fsseg_bench.machine.stopping import listening

PATIENCE = 20.0
"""Seconds that a task has for its step and for tidying up after it was told to stop; then its process ends at once."""

Work = Callable[[Any, Callable[[Any], None]], Any]
"""Does a task, with a function that tells the other side of it; whatever goes through it can be pickled. It raises
whatever it likes: :func:`fsseg_bench.errors.explain` says what is a mistake and what a bug."""


@dataclass(frozen=True)
class Done:
    """A task is done."""

    result: Any


@dataclass(frozen=True)
class Failure:
    """A task has failed."""

    message: str
    """What is wrong and what to do; of a bug the exception."""
    of_all: bool = False
    """Whether tasks that are begun later would fail as well."""
    bug: str = ""
    """The traceback where it is a bug."""
    later: bool = False
    """Whether the same task may succeed later; see :func:`fsseg_bench.errors.later`."""


@dataclass(frozen=True)
class Begin:
    """To the process: do this task."""

    task: Any


@dataclass(frozen=True)
class Stop:
    """To the process: end. The end of the pipe says the same."""


@dataclass(frozen=True)
class Told:
    """From the process: something of the task that is being done."""

    event: Any


@dataclass(frozen=True)
class Ended:
    """From the process: what became of the task."""

    outcome: Done | Failure


def serve(handle: int, target: str) -> None:
    """The whole life of the process: tasks from the pipe ``handle`` until it is told to stop."""
    for number in (signal.SIGINT, signal.SIGUSR1):  # a terminal or a batch system sends them to all
        signal.signal(number, signal.SIG_IGN)  # the other side decides
    for stream in (sys.stdout, sys.stderr):  # to a pipe, Python would keep what is printed until the process ends
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    with listening((signal.SIGTERM,)):
        try:
            _serve(Connection(handle), target)
        except KeyboardInterrupt:
            sys.exit(STOPPED)


def _serve(connection: Connection, target: str) -> None:
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    module, _, name = target.partition(":")
    work: Work | None = None
    telling = threading.Lock()

    def tell(message: Any) -> None:
        try:
            with telling:
                connection.send(message)
        except OSError:  # nobody listens any more, and the work ends as when it is told to stop
            signal.raise_signal(signal.SIGTERM)

    while True:
        task = tasks.get()
        try:
            work = work or getattr(importlib.import_module(module), name)()
            outcome: Done | Failure = Done(work(task, lambda event: tell(Told(event))))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the other side says it
            outcome = _failure(error)
        sys.stdout.flush()  # a line that has not ended
        tell(Ended(outcome))


def _failure(error: BaseException) -> Failure:
    message = explain(error)
    if message is None:
        return Failure(bug_words(error), bug="".join(traceback.format_exception(error)))
    return Failure(message, of_all=isinstance(error, FullDiskError), later=later(error))


def _listen(connection: Connection, tasks: queue.SimpleQueue[Any]) -> None:
    """Passes tasks on; interrupts the main thread when the process is to stop, or when the other side is dead."""
    try:
        while isinstance(message := connection.recv(), Begin):
            tasks.put(message.task)
    except (EOFError, OSError):
        pass
    # to the thread itself: what it waits for is interrupted, too
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    threading.Event().wait(PATIENCE)
    os._exit(STOPPED)
