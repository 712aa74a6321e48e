"""Who has the lock of a folder, without taking it from anybody."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.machine.here import here
from fsseg_bench.storage import lock

_FLOCK = "hhqqi4x"


@dataclass(frozen=True)
class Holder:
    """Who has a lock, as far as that is known."""

    host: str
    boot: str
    process: int
    job: str | None
    since: str
    """In UTC; empty where it is not known."""


def holder(folder: Path) -> Holder | None:
    """Who has the lock of ``folder``; None if nobody has."""
    path = folder / lock.LOCK_NAME
    place = here()
    try:
        if lock._key(path.stat()) in lock._held:
            return Holder(place.host, place.boot, place.process, place.job, "")
    except OSError:
        return None
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        finally:
            os.close(handle)
        kind, _, _, _, process = struct.unpack(_FLOCK, found)
        if kind != fcntl.F_UNLCK:
            return Holder(place.host, place.boot, process, None, "")
    return None
