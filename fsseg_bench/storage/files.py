"""Files that a kill or a full disk never damages: replaced in one step, or appended to."""

from __future__ import annotations

import errno
import io
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from fsseg_bench.errors import FullDiskError, UserError
from fsseg_bench.paths import regular

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".tmp"
"""Suffix of files that are not finished; their names start with a dot."""


@contextmanager
def writing(path: Path, advice: str = "") -> Iterator[None]:
    """Turns an ``OSError`` of the block into the message that ``path`` cannot be written, with advice at its end.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    try:
        yield
    except OSError as error:
        raise write_error(path, error, advice) from error


def write_error(path: Path, error: OSError, advice: str = "") -> UserError:
    """The message of :func:`writing`."""
    reason = error.strerror or str(error)
    end = f"; {advice}" if advice else ""
    if error.errno in _FULL:
        return FullDiskError(
            f"{path}: the disk is full ({reason}). Nothing recorded before is lost; make room and give the "
            f"same command again: it goes on where it stopped{end}"
        )
    return UserError(f"{path}: cannot be written: {reason}{end}")


@contextmanager
def atomic_writer(path: Path, *, advice: str = "", sync: bool = True) -> Iterator[BinaryIO]:
    """A binary file that becomes ``path`` when the block ends well, and leaves no trace when it does not.

    Readers and a crash see the old file or the new one, never a part. With ``sync`` the data are on the disk (fsync of
    file and folder) before the name changes; without, for thousands of files, the caller syncs once after them.

    Raises:
        UserError: full disk or unwritable folder; names ``path``. A serialiser that turns a failed write into
            an exception of its own (as torch's does) gives this error as well.
    """
    temporary = _temporary_for(path)
    with writing(path, advice):
        if path.exists():  # a device or pipe would be replaced by a file, for everybody on the machine
            regular(path)
        raw = _Watched(temporary, "xb")
    try:
        file = io.BufferedWriter(raw)
        yield file
        with writing(path, advice):
            file.flush()
            if sync:
                os.fsync(raw.fileno())
            file.close()
            temporary.replace(path)
            if sync:
                sync_folder(path.parent)
    except Exception as error:
        if raw.failure is not None:
            raise write_error(path, raw.failure, advice) from error
        raise
    finally:
        raw.close()
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class _Watched(io.FileIO):
    """Remembers a failed write: serialisers such as torch's turn it into an exception of their own."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replaces the content of ``path`` (text as UTF-8); see :class:`atomic_writer`.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    with atomic_writer(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def link_atomic(path: Path, target: Path) -> None:
    """Puts the file ``path`` at ``target`` too, in one step: by a hard link, or as a copy where links are not possible.

    Raises:
        UserError: full disk or unwritable folder; names ``target``.
    """
    temporary = _temporary_for(target)
    with writing(target):
        try:
            try:
                temporary.hardlink_to(path)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_all(handle: int, data: bytes, offset: int) -> None:
    """Writes ``data`` into an open file at ``offset``, however many writes that takes.

    Raises:
        OSError: not all of it could be written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def make_folder(folder: Path, advice: str = "") -> Path:
    """``folder``, made with its parents where it is missing.

    Raises:
        UserError: it cannot be made.
    """
    with writing(folder, advice):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_aside(path: Path) -> Path:
    """The first free name ``<name>.old-<n>`` beside ``path``, for what must make room and is kept."""
    names = (path.with_name(f"{path.name}.old-{n}") for n in itertools.count(1))
    return next(aside for aside in names if not aside.exists())


def remove_leftovers(folder: Path) -> None:
    """Removes what killed writers left unfinished in ``folder``. Only for who holds the folder's lock.

    Raises:
        OSError: a file cannot be removed.
    """
    for leftover in folder.glob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes new names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary_for(path: Path) -> Path:
    """A new name beside ``path``: two writers of one file never meet, and renaming stays within the file system."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
