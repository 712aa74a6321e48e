"""Who has the lock of a folder, without taking it from anybody."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fsseg_bench.machine.here import here
from fsseg_bench.storage.lock_file import ask
from fsseg_bench.storage.lock_note import Note, age, notes, read_note

_FRESH: Final = 6.0
"""Beats after which a note of another machine counts as left behind: more than one who takes the lock waits, since
the clocks of two machines are compared."""


@dataclass(frozen=True)
class Holder:
    """Who has a lock, as far as that is known."""

    host: str
    boot: str
    """Empty where it is not known."""
    process: int
    """0 where it is not known."""
    job: str | None
    since: str
    """In UTC; empty where it is not known."""

    @property
    def words(self) -> str:
        """``node7, process 123, slurm 12_3, since 12:40 UTC``; with the day where it is not today."""
        process = f"process {self.process}" if self.process else ""
        own = "this one" if (self.boot, self.process) == (here().boot, os.getpid()) else ""
        return ", ".join(filter(None, (self.host, process, self.job, own, _since(self.since))))


def holder(folder: Path) -> Holder | None:
    """Who has the lock of ``folder``; None if nobody has.

    The system knows of its own processes, and of other machines' where the file system carries locks between them.
    Otherwise somebody has it whose note is fresh, by this machine's clock: good enough to show, while who takes the
    lock watches the note instead.
    """
    try:
        asked = ask(folder)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = [(name, read_note(place, name)) for name in notes(place)]
        if asked.process is not None:
            return _named(asked.process, [note for _, note in found if note])
        live = (note for name, note in found if note and _lives(place, name, note, asked.system))
        return next(map(of_note, live), None)
    finally:
        os.close(place)


def _named(process: int, found: list[Note]) -> Holder:
    """The writer of the newest note, unless it is another process than the system says."""
    boot = here().boot
    for note in found:
        if process in {0, note.process} or note.boot != boot:
            return of_note(note)
    return Holder(here().host if process else "", boot if process else "", process, None, "")


def _lives(place: int, name: str, note: Note, system: bool) -> bool:
    if note.boot == here().boot and note.system and system:
        return False  # the system would know
    if note.gone is not None:
        return not note.gone
    with suppress(OSError):
        return age(place, name) < _FRESH * note.beat
    return False


def of_note(note: Note) -> Holder:
    """The writer of a note."""
    return Holder(note.host, note.boot, note.process, note.job, note.since)


def _since(text: str) -> str:
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return ""
    return f"since {when:%H:%M} UTC" if when.date() == datetime.now(UTC).date() else f"since {when:%Y-%m-%d %H:%M} UTC"
