"""What of the machine a run may take: all of it, or its share where several runs are made side by side."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsseg_bench.errors import UserError

Jobs = int | Literal["auto"]
"""What is asked for: so many runs at a time, or as many as the machine has room for."""

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


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


def usable_cores(groups: Path = _CONTROL_GROUPS, mine: Path = _MINE) -> int:
    """How many processor cores this process may use: those that it may run on, within its control groups' limit.

    ``groups`` is where the system shows control groups, ``mine`` names this process's.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        cores = os.cpu_count() or 1
    return max(min(cores, _limit(groups, mine)), 1)


def _limit(groups: Path, mine: Path) -> int:
    """Cores' worth of time that the control groups give, rounded up; many where they set no limit."""
    limits = [os.cpu_count() or 1]
    with suppress(OSError, ValueError):
        name = next(line[3:] for line in [*mine.read_text().splitlines(), "0::/"] if line.startswith("0::"))
        group = groups / name.strip("/")  # in a container often /, whatever it is called outside
        for folder in (group, *group.parents):
            if folder.is_relative_to(groups):
                limits.append(_quota(folder / "cpu.max"))
    return min(limits)


def _quota(path: Path) -> int:
    with suppress(OSError, ValueError):
        quota, period = path.read_text().split()  # microseconds of processor time in each period, or max
        if quota != "max":
            return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1
