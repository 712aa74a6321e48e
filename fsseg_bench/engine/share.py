"""What of the machine a run may take: all of it, or its share where several runs are made side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fsseg_bench.errors import UserError
from fsseg_bench.machine.limits import usable_cores

Jobs = int | Literal["auto"]
"""What is asked for: so many runs at a time, or as many as the machine has room for."""


@dataclass(frozen=True)
class Share:
    """How many runs are made at a time, this one among them."""

    machine: int = 1
    """On this machine: they share its cores and its memory."""
    device: int = 1
    """On the run's GPU, whose memory they share."""

    @property
    def cores(self) -> int:
        """Of which this run may keep busy; at least one."""
        return max(usable_cores() // self.machine, 1)


ALONE = Share()


def checked_jobs(text: str | int) -> Jobs:
    """``auto``, or how many.

    Raises:
        UserError: neither.
    """
    if text == "auto":
        return "auto"
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise UserError(f"--jobs {text}: use auto, or how many runs to make at a time, from 1")
    return count
