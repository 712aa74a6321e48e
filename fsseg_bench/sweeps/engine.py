"""What makes the cells of a sweep: the interface that the driver uses, whatever the engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from fsseg_bench.sweeps.plan import Cell


@dataclass(frozen=True)
class Ended:
    """An attempt at a cell has ended."""

    cell: Cell
    code: int | None
    """The exit code of its command, minus the number of the signal that killed it; None where nobody knows. What
    became of the cell, its record says."""


class Engine(AbstractContextManager["Engine"], Protocol):
    """Makes cells; leaving the ``with`` statement stops those that are at work, in an orderly way where it can. A
    KeyboardInterrupt meanwhile stops them at once, and is raised on."""

    name: str

    def has_room(self) -> bool:
        """Whether another cell may be begun now."""

    def begin(self, cell: Cell) -> str:
        """Begins an attempt at a cell; see :func:`fsseg_bench.sweeps.attempt.attempt`. Where that is, as far as it is
        known and worth saying."""

    def ended(self, seconds: float) -> list[Ended]:
        """Waits until attempts end, at most so many seconds, also when none is at work; those that did.

        Those that ended when the ``with`` statement was left can be asked for afterwards, with 0 seconds.
        """
