"""Whether a process of this machine still runs, and is not another one that got the same number."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_GONE = {"Z", "X", "x"}
"""States of processes that ended and that nobody asked about yet."""


@cache
def space() -> str:
    """Within which a process has its number: containers of one machine count each their own. Empty where the system
    does not say."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - its target is no file
    return ""


def started(process: int) -> str:
    """When a process began, in the system's own measure; empty where that is not known."""
    return _told(process)[1]


def alive(process: int, since: str = "") -> bool:
    """Whether the process runs that began at ``since``, as :func:`started` said of it."""
    if process <= 0:  # a whole group
        return False
    try:
        os.kill(process, 0)
    except PermissionError:  # another user's
        pass
    except (OSError, OverflowError):
        return False
    state, began = _told(process)
    return state not in _GONE and (not since or not began or since == began)


def _told(process: int) -> tuple[str, str]:
    """Its state and when it began; empty where the system does not say."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return fields[0], fields[19]  # after the name, which may hold anything
    return "", ""
