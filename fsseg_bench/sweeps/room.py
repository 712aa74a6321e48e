"""Whether the disk has room for what a sweep will write: before it begins, and while it is at work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from fsseg_bench.errors import LaterError
from fsseg_bench.sweeps.states import CellState

RESERVE: Final = 2**28
"""Bytes that are kept free: a checkpoint is written beside the one that it replaces, and others write, too."""


def free_bytes(folder: Path) -> int:
    """Bytes that can be written where ``folder`` is or will be."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def bytes_left(state: CellState) -> int:
    """What a cell will still write, about."""
    if state.state == "done":
        return 0
    return max(state.cell.bytes - (_written(state.folder) if state.folder else 0), 0)


def check_room(root: Path, states: Iterable[CellState]) -> None:
    """Refuses a sweep whose records will not find room.

    Raises:
        LaterError: what the cells will write is more than what is free; names both.
    """
    left = [state for state in states if state.state != "done"]
    needed, free = sum(map(bytes_left, left)), free_bytes(root)
    if needed and needed + RESERVE > free:
        raise LaterError(
            f"{root}: {len(left)} cells will write about {in_words(needed)}, {in_words(RESERVE)} are to stay free, and "
            f"{in_words(free)} are free; make room, name another --out, or begin all the same with --ignore-disk"
        )


class Room:
    """Of a sweep that is at work."""

    def __init__(self, root: Path, *, reserve: int = RESERVE, free: Callable[[Path], int] = free_bytes) -> None:
        self._root, self._reserve, self._free = root, reserve, free

    def lacking(self, at_work: Iterable[CellState], another: CellState) -> str:
        """Why another cell has no room beside those at work; empty where it has."""
        free, needed = self._free(self._root), sum(map(bytes_left, at_work))
        wanted = bytes_left(another)
        if not another.cell.bytes or free >= needed + wanted + self._reserve:
            return ""
        return (
            f"{self._root}: {in_words(free)} are free on the disk; the cells at work will write about "
            f"{in_words(needed)}, the next {in_words(wanted)}, and {in_words(self._reserve)} are to stay free"
        )


def in_words(count: int) -> str:
    """Bytes as people say them."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def _written(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it was replaced meanwhile
            total += path.lstat().st_size
    return total
