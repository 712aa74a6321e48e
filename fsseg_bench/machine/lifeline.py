"""A process that ends with the one that started it, however that one ends, on any system."""

from __future__ import annotations

import os
import signal
import stat
import threading
from contextlib import AbstractContextManager, suppress
from typing import Final

from fsseg_bench.errors import TERMINATED

VARIABLE: Final = "FSSEG_LIFELINE"
PATIENCE: Final = 10.0
"""Seconds that a process has for an orderly end once the one that started it is dead."""


class Lifeline(AbstractContextManager["Lifeline"]):
    """The side of the process that starts others: a pipe that nobody writes to, and that closes with this process.

    Start them with ``env={**os.environ, **lifeline.environment}`` and ``pass_fds=lifeline.pass_fds``; several may hold
    the same one.
    """

    def __init__(self) -> None:
        """Opens the pipe. No process that :mod:`subprocess` starts inherits its writing end."""
        self._reading, self._writing = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        """Where the other process finds its end."""
        return {VARIABLE: str(self._reading)}

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """What the other process must inherit."""
        return (self._reading,)

    def close(self) -> None:
        """Lets go: those that hold it end as if this process were dead. A second call does nothing."""
        for handle in (self._reading, self._writing):
            with suppress(OSError):
                os.close(handle)
        self._reading = self._writing = -1

    def __exit__(self, *_: object) -> None:
        self.close()


def follow() -> None:
    """The side of the process that was started: it ends soon after the other one, if that one gave it a lifeline.

    It is told to end by SIGTERM, and ends at once where it has not done so after :data:`PATIENCE`.

    Raises:
        ValueError: the environment names a lifeline that is none.
    """
    named = os.environ.pop(VARIABLE, None)  # it is not for the processes that this one starts
    if named is None:
        return
    try:
        handle = int(named)
        pipe = stat.S_ISFIFO(os.fstat(handle).st_mode)
    except (ValueError, OSError):
        pipe = False
    if not pipe:
        raise ValueError(f"{VARIABLE}={named} names no pipe; unset it")
    os.set_inheritable(handle, False)
    threading.Thread(target=_watch, args=(handle,), daemon=True, name="lifeline").start()


def _watch(handle: int) -> None:
    with suppress(OSError):
        while os.read(handle, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE)
    os._exit(TERMINATED)
