"""Progress of long work. These classes are silent; the command line has some that show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Unit = Literal["steps", "bytes", "files"]


class Meter:
    """One piece of work of a known size."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` more are done, negative when work must be done again; ``note`` is a short figure to show (loss)."""


class Progress:
    """Receives what happens."""

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        """A meter for work of which ``done`` of ``total`` were done earlier."""
        yield Meter()

    def say(self, message: str) -> None:
        """One line worth reading."""
