"""An orderly end on Ctrl-C, SIGTERM and SIGUSR1: at once, or after the step at work where work is done in steps.

The command line listens, and nobody else: a script of the user's keeps what it does with its signals.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stopped(KeyboardInterrupt):
    """The process is to end, and what it did goes on from here; whoever tidies up after a Ctrl-C does so here, too."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        """By the signal ``number``."""
        super().__init__()
        self.number = number


class _State:
    process = 0
    """That listens: a process that it forks hears the same signals, and leaves them to it."""
    come: tuple[int, ...] = ()
    """The signals so far."""
    deferred = 0
    """In how many bodies the first one is noted only."""


@contextmanager
def listening(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Within it the first of the ``signals`` raises :class:`Stopped` in the main thread, or see :func:`deferred`.

    Later ones do nothing, since batch systems and those who start a process often both tell it to end; but for Ctrl-C,
    which raises again. In another thread than the main one, nothing is listened to.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.process, _State.come, _State.deferred = os.getpid(), (), 0
    before = {number: signal.getsignal(number) for number in signals}
    for number, handler in before.items():
        if number != signal.SIGINT or handler != signal.SIG_IGN:  # a shell's background process: Ctrl-C is not for it
            signal.signal(number, _heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            # after the first one the process is about to end, and the next is not to kill it on its last lines
            signal.signal(number, signal.SIG_IGN if _State.come and number != signal.SIGINT else handler)
        _State.process, _State.come, _State.deferred = 0, (), 0


def _heard(number: int, _frame: FrameType | None) -> None:
    if os.getpid() != _State.process:
        return
    first = not _State.come
    _State.come += (number,)
    if first and not _State.deferred:
        raise Stopped(number)
    if not first and number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped(number)


@contextmanager
def deferred() -> Iterator[None]:
    """Within it the first signal is noted: the body asks :func:`asked` between its steps, and calls :func:`check`."""
    check()
    _State.deferred += 1
    try:
        yield
    finally:
        _State.deferred -= 1
    check()


def only_note() -> None:
    """From now on a signal is noted, and that is all: the process is ending."""
    _State.deferred += 1


@contextmanager
def undeferred() -> Iterator[None]:
    """Within it SIGTERM and SIGUSR1 end the process at once, without a word, if this process listens to them.

    For waits from which no handler of Python's would wake it.
    """
    ours = [number for number in SIGNALS if number != signal.SIGINT and signal.getsignal(number) is _heard]
    check()
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _heard)


def asked() -> bool:
    """Whether the process has been told to end."""
    return bool(_State.come)


def check() -> None:
    """Ends the work where the process has been told to end.

    Raises:
        Stopped: it has.
    """
    if _State.come:
        raise stop()


def stop() -> Stopped:
    """What ends the work, told by a signal or by another process."""
    return Stopped(_State.come[0] if _State.come else signal.SIGTERM)
