"""What of the machine a run may take: all of it, or its share where several runs are made side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from fsseg_bench.machine.limits import usable_cores

VARIABLE: Final = "FSSEG_SHARE"
"""Tells a process how many runs share the machine, this one among them, and how many its GPU: ``4,1``."""


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

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that makes a run in this share; see :func:`share_here`."""
        return {VARIABLE: f"{self.machine},{self.device}"}


ALONE: Final = Share()


def share_here() -> Share:
    """The share of a run that this process makes, by its environment; all of the machine where that says nothing."""
    numbers = os.environ.get(VARIABLE, "").split(",")
    if len(numbers) == 2 and all(number.isdecimal() and int(number) > 0 for number in numbers):
        return Share(int(numbers[0]), int(numbers[1]))
    return ALONE
