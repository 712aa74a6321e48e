"""Writing that a kill, a full disk or a second process never turns into damage."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsseg_bench.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".unfinished"
"""Name of the one file of a folder that is being written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write ``path`` into a message.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise UserError(
                f"{path}: the disk is full ({reason}). What is done is kept: make room and give the same command again"
            ) from error
        raise UserError(f"{path}: cannot be written: {reason}") from error


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` in one step; the data are on the disk before the name is.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    temporary = path.with_name(TEMPORARY)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keeps other preparations out of ``folder`` until the block ends; the system ends it with the process.

    Raises:
        UserError: another process is preparing there, or the folder cannot be written.
    """
    path = folder / "lock"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder.parent}: another process is preparing data there; wait for it") from None
        yield
    finally:
        os.close(handle)
