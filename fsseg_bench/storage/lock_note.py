"""Notes beside a lock file: who has the lock, for people and for machines that the system's lock does not reach.

``.lock-1`` holds one line of JSON and is touched at every beat while its writer lives, and is removed when it releases
the lock. Who takes a lock over from a writer that fell silent makes the note with the next number: of several that try,
the system lets one make it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fsseg_bench.machine.alive import alive, space, started
from fsseg_bench.machine.here import here
from fsseg_bench.storage.lock_file import LOCK_NAME

BEAT: Final = 10.0
"""Seconds between two beats."""
BEATS: Final = 3.5
"""After how many without a sign a writer counts as gone."""
_LONGEST: Final = 60.0
State = tuple[int, bytes]
_NAME: Final = re.compile(re.escape(LOCK_NAME) + r"-(\d{1,9})")
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that goes on while the machine sleeps."""


@dataclass(frozen=True)
class Note:
    """Who has a lock."""

    host: str
    boot: str
    """See :mod:`fsseg_bench.machine.here`."""
    space: str
    """See :func:`fsseg_bench.machine.alive.space`."""
    process: int
    started: str
    """When the process began; numbers are used again."""
    job: str | None
    since: str
    """In UTC."""
    beat: float
    """Seconds between two beats."""
    system: bool
    """Whether the system's lock was taken with it."""

    @property
    def gone(self) -> bool | None:
        """Whether its process is known to have ended; None where this process cannot see."""
        if self.boot != here().boot or self.space != space():
            return None
        return not alive(self.process, self.started)


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock file or a note."""
    return name == LOCK_NAME or _NAME.fullmatch(name) is not None


def notes(folder: int) -> list[str]:
    """The names of the notes in an open folder, the newest first."""
    found = [name for name in os.listdir(folder) if _NAME.fullmatch(name)]
    return sorted(found, key=_number, reverse=True)


def read_note(folder: int, name: str) -> Note | None:
    """What a note says; None where it is not (yet) whole, or gone."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        row = json.loads(_content(folder, name))
        beat = min(max(float(row["beat"]), 0.01), _LONGEST)
        texts: dict[str, Any] = {key: str(row[key]) for key in ("host", "boot", "space", "started", "since")}
        job = None if row["job"] is None else str(row["job"])
        return Note(**texts, process=int(row["process"]), job=job, beat=beat, system=row["system"] is True)
    return None


def age(folder: int, name: str) -> float:
    """Seconds since a note's last beat by this machine's clock, which may be another one's than the file system's."""
    return abs(time.time() - os.stat(name, dir_fd=folder).st_mtime)


def state(folder: int, name: str) -> State | None:
    """What changes with each beat; None where there is no such note.

    It is compared with itself alone: the clocks of machines differ.
    """
    # opened anew each time: network file systems ask the server then, and only then
    with suppress(OSError):
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            return os.fstat(file).st_mtime_ns, os.read(file, 4096)
        finally:
            os.close(file)
    return None


def changed(folder: int, before: Mapping[str, State | None]) -> str | None:
    """The first of some notes whose writer gave a sign; one that was removed was released."""
    now = ((name, state(folder, name)) for name in before)
    return next((name for name, found in now if found not in {None, before[name]}), None)


def still_writing(folder: int, before: Mapping[str, State | None], seconds: float) -> str | None:
    """Watches notes for so many seconds; the first whose writer gives a sign meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, seconds / 20))
        if (name := changed(folder, before)) is not None:
            return name
    return None


def _content(folder: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _number(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0


class OwnNote:
    """The note of this process."""

    def __init__(self, folder: int, after: str | None, *, system: bool, beat: float) -> None:
        """Writes it into an open folder, with the number that follows that of the note ``after``.

        Raises:
            FileExistsError: another process was quicker.
            OSError: it cannot be written.
        """
        place = here()
        self.note = Note(
            *(place.host, place.boot, space(), place.process, started(place.process), place.job),
            *(datetime.now(UTC).isoformat(timespec="seconds"), beat, system),
        )
        self.name = f"{LOCK_NAME}-{_number(after or '') + 1}"
        # its own words: two notes of one name never hold the same
        self._line = (json.dumps(asdict(self.note) | {"token": os.urandom(8).hex()}) + "\n").encode()
        self._folder, self.lost = folder, False
        file = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            os.write(file, self._line)
        except OSError:
            os.unlink(self.name, dir_fd=folder)
            raise
        finally:
            os.close(file)
        self._seen = time.clock_gettime(_CLOCK)

    def beat(self) -> None:
        """Shows that this process lives, unless somebody took the lock over."""
        if self.look():
            with suppress(OSError):
                os.utime(self.name, dir_fd=self._folder)  # reaches a server at once, and costs a disk nothing

    def look(self) -> bool:
        """Whether the note is still there; where that cannot be seen now, it is taken to be."""
        now = time.clock_gettime(_CLOCK)  # before it is read: the process may be suspended in between
        try:
            self.lost = self.lost or _content(self._folder, self.name) != self._line
            self._seen = now
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass
        return not self.lost

    def look_after_a_pause(self) -> bool:
        """As :meth:`look`, but believes a beat of late."""
        if not self.lost and time.clock_gettime(_CLOCK) - self._seen < 2 * self.note.beat:
            return True
        return self.look()

    def remove(self) -> None:
        """Takes it away, if it is still there."""
        if self.look():
            with suppress(OSError):
                os.unlink(self.name, dir_fd=self._folder)
