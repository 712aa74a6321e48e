"""What the system lets this process have: processor cores and memory, within the limits of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_UNKNOWN_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class System:
    """Where a Linux system tells of itself; elsewhere there are no such files, and no limits are found."""

    groups: Path = Path("/sys/fs/cgroup")
    """Control groups, of version 2 or 1."""
    process: Path = Path("/proc/self")
    """This process."""
    memory: Path = Path("/proc/meminfo")


SYSTEM = System()


def usable_cores(system: System = SYSTEM) -> int:
    """How many cores this process may use: those that it may run on, within its time limit, rounded up.

    Of a job of Slurm's, those that it asked for a task: not every cluster confines a job to them.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        cores = os.cpu_count() or 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(min([cores, *_found(_cores_limit, "cpu", system), *([int(asked)] if asked.isdecimal() else [])]), 1)


def free_memory(system: System = SYSTEM) -> int:
    """Bytes that this process can have without swapping; where the system does not say, 4 GiB."""
    return max(min([_available(system), *_found(_memory_left, "memory", system)]), 0)


def _available(system: System) -> int:
    with suppress(OSError, ValueError, StopIteration):  # with what the system keeps of files, and gives up when asked
        lines = system.memory.read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY


def _found(limit: Callable[[Path], int], controller: str, system: System) -> list[int]:
    """The limits that are set for this process's control group and those above it."""
    limits = []
    for folder in _folders(controller, system):
        with suppress(OSError, ValueError, StopIteration):
            limits.append(limit(folder))
    return limits


def _folders(controller: str, system: System) -> Iterator[Path]:
    try:
        lines = (system.process / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = system.groups / controller if controllers else system.groups
        group = top / path.strip("/")  # in a container the path may be that outside of it: then only the top is there
        yield from dict.fromkeys([group, *(folder for folder in group.parents if folder.is_relative_to(top)), top])


def _cores_limit(folder: Path) -> int:
    """Raises ValueError where there is none."""
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text().split()  # microseconds in each period, or max
    else:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    if int(quota) <= 0:
        raise ValueError
    return math.ceil(int(quota) / int(period))


def _memory_left(folder: Path) -> int:
    """Raises ValueError where there is no limit. What is kept of files and was not used lately counts as free."""
    first = (folder / "memory.max").exists()
    limit, used, kept = (
        ("memory.max", "memory.current", "inactive_file ")
        if first
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
    )
    most = int((folder / limit).read_text())
    lines = (folder / "memory.stat").read_text().splitlines()
    spare = next(int(line.split()[1]) for line in lines if line.startswith(kept))
    return most - int((folder / used).read_text()) + spare
