"""Progress from one process to another: what is told here is told there again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fsseg_bench.progress import Meter, Progress, Unit

_PAUSE = 0.1  # seconds between two messages of one meter


@dataclass(frozen=True)
class Said:
    """One line worth reading."""

    message: str


@dataclass(frozen=True)
class Opened:
    """A meter begins."""

    meter: int
    title: str
    total: int
    done: int
    unit: Unit


@dataclass(frozen=True)
class Advanced:
    """Steps of a meter, since it was last heard of."""

    meter: int
    steps: int
    note: str


@dataclass(frozen=True)
class Closed:
    """A meter ends."""

    meter: int


Event = Said | Opened | Advanced | Closed


class Sender(Progress):
    """Makes events of what it is told; of steps that follow each other quickly, one for all."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._numbers = itertools.count()

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        """Tells of a meter until the body ends."""
        number = next(self._numbers)
        self._tell(Opened(number, title, total, done, unit))
        meter = _Sending(self._tell, number)
        try:
            yield meter
            meter.flush()
        finally:
            self._tell(Closed(number))

    def say(self, message: str) -> None:
        """Tells of the line."""
        self._tell(Said(message))


class _Sending(Meter):
    def __init__(self, tell: Callable[[Event], None], number: int) -> None:
        self._tell, self._number = tell, number
        self._steps, self._note, self._last = 0, "", 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._steps, self._note = self._steps + steps, note
        if time.monotonic() - self._last >= _PAUSE:
            self.flush()

    def flush(self) -> None:
        """Tells what is not told yet."""
        if self._steps:
            self._tell(Advanced(self._number, self._steps, self._note))
            self._steps, self._last = 0, time.monotonic()


class Replay:
    """Tells a :class:`Progress` what events say."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._meters: dict[int, tuple[Meter, ExitStack]] = {}

    def take(self, event: Event) -> None:
        """The next event."""
        if isinstance(event, Said):
            self._progress.say(event.message)
        elif isinstance(event, Opened):
            stack = ExitStack()
            meter = stack.enter_context(self._progress.meter(event.title, event.total, event.done, event.unit))
            self._meters[event.meter] = meter, stack
        elif isinstance(event, Advanced):
            self._meters[event.meter][0].advance(event.steps, event.note)
        else:
            self._meters.pop(event.meter)[1].close()

    def close(self) -> None:
        """Ends the meters whose end was not told: the other process is dead."""
        while self._meters:
            self._meters.popitem()[1][1].close()
