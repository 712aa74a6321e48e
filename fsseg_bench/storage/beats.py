"""One thread that lets all notes of this process beat, as long as there are any."""

from __future__ import annotations

import os
import threading
import time

from fsseg_bench.storage.lock_note import OwnNote

_mutex = threading.Lock()
_due: dict[OwnNote, float] = {}
"""When each note beats next."""
_changed = threading.Event()
_thread: threading.Thread | None = None


def begin(note: OwnNote) -> None:
    """From now on the note beats."""
    global _thread  # noqa: PLW0603
    with _mutex:
        _due[note] = time.monotonic() + note.note.beat
        _changed.set()
        if _thread is None:
            _thread = threading.Thread(target=_beat, name="lock beats", daemon=True)
            _thread.start()


def end(note: OwnNote) -> None:
    """The note does not beat any more, not even once."""
    with _mutex:
        _due.pop(note, None)
        _changed.set()


def _beat() -> None:
    global _thread  # noqa: PLW0603
    while True:
        with _mutex:
            _changed.clear()
            now = time.monotonic()
            for note, due in _due.items():
                if due <= now:
                    note.beat()
                    _due[note] = now + note.note.beat
            if not _due:
                _thread = None
                return
            pause = min(_due.values()) - time.monotonic()
        _changed.wait(max(pause, 0.0))


def _forget() -> None:
    """A forked child has no such thread, and none of its parent's locks."""
    global _mutex, _changed, _thread
    _mutex, _changed, _thread = threading.Lock(), threading.Event(), None
    _due.clear()


os.register_at_fork(after_in_child=_forget)
