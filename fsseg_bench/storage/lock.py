"""One writer a folder: a lock that ends with its process, however that ends, and reaches as far as can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from fsseg_bench.errors import LockedError
from fsseg_bench.machine.here import here
from fsseg_bench.storage import beats
from fsseg_bench.storage.files import write_error
from fsseg_bench.storage.holder import Holder, holder, of_note
from fsseg_bench.storage.lock_file import LOCK_NAME, give_back, take
from fsseg_bench.storage.lock_note import (
    BEAT,
    BEATS,
    Note,
    OwnNote,
    State,
    changed,
    notes,
    read_note,
    state,
    still_writing,
)

__all__ = ["LOCK_NAME", "FolderLock"]


def _say(message: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


class FolderLock(AbstractContextManager["FolderLock"]):
    """The right to write in a folder, from construction to :meth:`release`.

    Processes of one machine are kept apart by the system's lock of ``.lock``, which ends with its process; see
    :mod:`fsseg_bench.storage.lock_file`. Whether such locks reach other machines depends on how the file system is
    mounted, and cannot be seen from one machine. Hence a note of who has it, ``.lock-1``, that beats; see
    :mod:`fsseg_bench.storage.lock_note`. Where the system would give a lock while a note of another machine lies there,
    the note is watched: it goes on beating, or its writer is gone. On a file system without locks the note is all there
    is.

    A writer that was suspended, or cut off from the server, for more than some beats may find the lock with another
    machine when it comes back: :meth:`check` says so before anything else is written.
    """

    def __init__(
        self,
        folder: Path,
        doing: str = "writing",
        advice: str = "wait for it or use another --out",
        *,
        say: Callable[[str], None] = _say,
        beat: float = BEAT,
    ) -> None:
        """Takes the lock; makes the folder when it is missing.

        The message says what another process that holds the lock is ``doing``, and what the user can do then. That a
        writer on another machine is waited for is said through ``say``. ``beat`` is how many seconds lie between two
        beats of this lock.

        Raises:
            LockedError: another writer holds it.
            UserError: the folder cannot be written or locked.
        """
        self._folder, self._doing, self._advice, self._process = folder, doing, advice, os.getpid()
        self._note: OwnNote | None = None
        try:
            self._taken = take(folder)
        except BlockingIOError:
            raise self._refused(holder(folder)) from None
        except OSError as error:
            raise write_error(folder / LOCK_NAME, error) from error
        self._released = False
        try:
            self._write_note(say, beat)
        except BaseException:  # an interrupt, too: nobody has this object to release it
            self.release()
            raise

    def _write_note(self, say: Callable[[str], None], beat: float) -> None:
        place = self._taken.folder
        before = {name: state(place, name) for name in notes(place)}
        self._make_sure(before, say)
        try:
            self._note = OwnNote(place, next(iter(before), None), system=self._taken.system, beat=beat)
        except FileExistsError:
            raise self._refused(holder(self._folder)) from None
        except OSError as error:
            if not self._taken.system:
                raise write_error(self._folder / LOCK_NAME, error) from error
            return  # the system keeps others out without it, and a full disk is found soon enough
        # Whoever came or woke up meanwhile may have seen this note as well: then both yield.
        others = [name for name in notes(place) if name not in {*before, self._note.name}]
        for name in filter(None, [*others, changed(place, before)]):
            raise self._refused(_of(place, name))
        beats.begin(self._note)
        for name in before:
            with suppress(OSError):
                os.unlink(name, dir_fd=place)

    def _make_sure(self, before: Mapping[str, State | None], say: Callable[[str], None]) -> None:
        """Raises LockedError unless the writers of all notes are gone."""
        place, unsure = self._taken.folder, dict[str, Note | None]()
        for name in before:
            note = read_note(place, name)
            gone = None if note is None else note.gone
            if self._taken.system and note and note.system and note.boot == here().boot:
                gone = True  # or the system would not have given the lock
            if gone is False:
                raise self._refused(_of(place, name))
            if gone is None:
                unsure[name] = note
        if not unsure:
            return
        seconds = BEATS * max(note.beat if note else BEAT for note in unsure.values())
        who = next((of_note(note).words for note in unsure.values() if note), "another process")
        watch = f"waiting up to {seconds:.0f} s to see whether it still writes there"
        say(f"{self._folder}: {who} did not release it; {watch}")
        found = still_writing(place, {name: before[name] for name in unsure}, seconds)
        if found is not None:
            raise self._refused(_of(place, found))

    def _refused(self, who: Holder | None) -> LockedError:
        words = f" ({who.words})" if who and who.words else ""
        return LockedError(f"{self._folder}: another process is {self._doing}{words}; {self._advice}")

    def check(self) -> None:
        """Makes sure that the right is still this process's; cheap, but for the first time after a long pause.

        Raises:
            LockedError: another machine took it over, since nothing was seen of this process for long.
        """
        if self._note is None or self._released or self._note.look_after_a_pause():
            return
        who = _of(self._taken.folder, next(iter(notes(self._taken.folder)), ""))
        by = f" ({who.words})" if who else ""
        raise LockedError(
            f"{self._folder}: another process{by} has taken over, since nothing was seen of this one for long (was it "
            "suspended, or cut off from the file server?); nothing more is written here"
        )

    def release(self) -> None:
        """Gives the right back; a second call does nothing."""
        if self._released:
            return
        self._released = True
        if self._note is not None and self._process == os.getpid():  # a forked child has a copy of this object
            beats.end(self._note)
            self._note.remove()
        give_back(self._taken)

    def __exit__(self, kind: object, *_: object) -> None:
        """Raises LockedError when the block ended well but the right was lost meanwhile; see :meth:`check`."""
        try:
            if kind is None:
                self.check()
        finally:
            self.release()


def _of(place: int, name: str) -> Holder | None:
    note = read_note(place, name)
    return of_note(note) if note else None
