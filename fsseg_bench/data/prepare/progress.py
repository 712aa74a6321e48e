"""What a preparation tells about its progress; who shows it is somebody else's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Unit = Literal["bytes", "files"]


class Meter:
    """One piece of work of a known size. This one is silent."""

    def advance(self, steps: int = 1) -> None:
        """``steps`` more bytes or files are done; negative when work must be done again."""


class Progress:
    """Receives what happens. This one is silent; the command line has one that speaks."""

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "bytes") -> Iterator[Meter]:
        """A meter for ``total`` bytes or files of which ``done`` were done earlier."""
        yield Meter()

    def say(self, message: str) -> None:
        """One line worth reading."""
