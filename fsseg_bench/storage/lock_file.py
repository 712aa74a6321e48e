"""The system's lock of a folder's lock file, and who has it according to the system.

It is a POSIX record lock: the system drops it when the process dies, also by SIGKILL, and loader workers forked
meanwhile do not keep it. (``flock`` would be theirs as well.) Two things need care. Such locks do not exclude their own
process. And the process loses its lock when it closes any handle of that file: nothing but this module opens it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LOCK_NAME = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""How a file system says that it has no locks."""
_ASK = "hhqqi4x" if sys.platform == "linux" and sys.maxsize > 2**32 else None
"""The system's ``struct flock`` where it is known: type, whence, start, length, process."""


class Key(NamedTuple):
    """A file, whatever it is called."""

    device: int
    inode: int


class Taken(NamedTuple):
    """A lock file that this process has."""

    folder: int
    """A handle of its folder, which may be renamed."""
    file: int
    """Its handle."""
    key: Key
    system: bool
    """Whether the system keeps others out; False: this file system has no locks."""


class Asked(NamedTuple):
    """What the system says of a lock."""

    process: int | None
    """Who has it, 0 where that is not known; None: nobody."""
    system: bool
    """Whether it would know."""
    own: Key | None = None
    """Of a lock that this process has."""


_mutex = threading.RLock()
_held: set[Key] = set()
"""The locks of this process."""


def take(folder: Path) -> Taken:
    """Locks the folder's lock file; makes both where they are missing.

    Raises:
        BlockingIOError: another process, or this one, has the lock.
        OSError: the file cannot be made.
    """
    path = folder / LOCK_NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with _mutex:
            with suppress(FileNotFoundError):
                if _key(path.stat()) in _held:
                    raise BlockingIOError
            try:
                place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # it was moved aside in this moment
            try:
                file = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=place)
                try:
                    system = _lock(file)
                    key = _key(os.fstat(file))
                    with suppress(FileNotFoundError):
                        if _key(path.stat()) == key:  # else the folder was moved aside before it was locked
                            _held.add(key)
                            return Taken(place, file, key, system)
                except BaseException:
                    os.close(file)
                    raise
                os.close(file)
            except BaseException:
                os.close(place)
                raise
            os.close(place)


def _lock(file: int) -> bool:
    """Whether the file system has locks.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # what some systems say instead
        raise BlockingIOError from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def give_back(taken: Taken) -> None:
    """Ends :func:`take`; in a forked child, which has no lock, it closes its copies."""
    with _mutex:
        _held.discard(taken.key)
        os.close(taken.file)
        os.close(taken.folder)


def ask(folder: Path) -> Asked:
    """Who has the lock of the folder, according to the system; nobody is disturbed.

    Raises:
        FileNotFoundError: it was never locked.
    """
    path = folder / LOCK_NAME
    with _mutex:
        key = _key(path.stat())
        if key in _held:
            return Asked(os.getpid(), True, key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return Asked(None, False)
        try:
            return Asked(_holder(file), True)
        except OSError:
            return Asked(None, False)
        finally:
            os.close(file)


def _holder(file: int) -> int | None:
    if _ASK is None:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for a moment; the caller closes the file
        except (BlockingIOError, PermissionError):
            return 0
        return None
    found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_ASK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, process = struct.unpack(_ASK, found)
    return None if kind == fcntl.F_UNLCK else max(process, 0)  # other machines' processes are negative numbers


def _key(stat: os.stat_result) -> Key:
    return Key(stat.st_dev, stat.st_ino)


def _forget() -> None:
    """A forked child has none of its parent's locks."""
    global _mutex  # noqa: PLW0603 - another thread may have had it in the moment of the fork
    _mutex = threading.RLock()
    _held.clear()


os.register_at_fork(after_in_child=_forget)
