"""Reading and scoring many records: by several processes where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.machine.pool import Listener, Pool
from fsseg_bench.machine.share import share_here
from fsseg_bench.report.scored import Found, count

_MANY = 400
"""Records that are read in the time in which a process starts, or some more."""
_AT_ONCE = 50
_MOST = 8
"""Processes; what they read goes through this one."""

_Task = tuple[Sequence[Path], int | None]


def gathered(folders: Sequence[Path], episodes: int | None = None) -> Iterator[Found]:
    """What each of ``folders`` holds, in their order, see :func:`fsseg_bench.report.scored.count`."""
    parts = [(folders[i : i + _AT_ONCE], episodes) for i in range(0, len(folders), _AT_ONCE)]
    processes = min(len(folders) // _MANY, share_here().cores, _MOST)
    read = _side_by_side(parts, processes) if processes > 1 else [None] * len(parts)
    for part, found in zip(parts, read, strict=True):
        yield from _read(part) if found is None else found


def _side_by_side(parts: Sequence[_Task], processes: int) -> list[list[Found] | None]:
    """What other processes found; None where they could not, which is left to this one and its messages."""
    try:
        with Pool("fsseg_bench.report.gather:reader", [{}] * processes) as pool:
            done = pool.run(parts, Listener())
    except OSError:
        return [None] * len(parts)
    return [one.result if one else None for one in done]


def reader() -> Callable[[_Task, Callable[[Any], None]], list[Found]]:
    """What a process does, see :data:`fsseg_bench.machine.pool_worker.Work`."""
    return lambda task, _tell: _read(task)


def _read(task: _Task) -> list[Found]:
    folders, episodes = task
    return [count(folder, episodes) for folder in folders]
