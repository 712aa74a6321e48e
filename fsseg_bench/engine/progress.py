"""What the engine tells about its progress; who shows it is somebody else's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """One piece of work with a known number of steps. This one is silent."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` more are done; ``note`` is a short figure to show beside (loss, rate)."""


class Progress:
    """Receives what happens during a run. This one is silent; the command line has one that speaks."""

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0) -> Iterator[Meter]:
        """A meter for ``total`` steps of which ``done`` were done earlier."""
        yield Meter()

    def say(self, message: str) -> None:
        """One line worth reading."""
