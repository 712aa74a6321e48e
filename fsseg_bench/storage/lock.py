"""One writer a folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from fsseg_bench.errors import LockedError
from fsseg_bench.storage.files import write_error

LOCK_NAME = ".lock"

_held: set[tuple[int, int]] = set()
"""Device and inode of the locks of this process: the system's locks do not exclude their own process."""


class FolderLock(AbstractContextManager["FolderLock"]):
    """The right to write in a folder, from construction to :meth:`release`.

    It is a POSIX record lock: the system drops it when the process dies, also by SIGKILL, and loader workers
    forked meanwhile do not keep it. (``flock`` would be theirs as well.)
    """

    def __init__(self, folder: Path, doing: str = "writing", advice: str = "wait for it or use another --out") -> None:
        """Takes the lock; makes the folder when it is missing.

        The message says what another process that holds the lock is ``doing``, and what the user can do then.

        Raises:
            LockedError: another writer holds it.
            UserError: the folder cannot be written or locked.
        """
        path = folder / LOCK_NAME
        try:
            self._handle, self._key = _locked(path)
        except BlockingIOError:
            raise LockedError(f"{folder}: another process is {doing}{_holder(path)}; {advice}") from None
        except OSError as error:
            raise write_error(path, error) from error
        _held.add(self._key)
        try:
            with suppress(OSError):  # who holds it is a courtesy; a full disk does not matter here
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except BaseException:  # an interrupt: nobody has this object to release it
            self.release()
            raise

    def release(self) -> None:
        """Gives the right back; a second call does nothing."""
        if self._handle >= 0:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
            _held.discard(self._key)
            os.close(self._handle)
            self._handle = -1

    def __exit__(self, *_: object) -> None:
        self.release()


def _locked(path: Path) -> tuple[int, tuple[int, int]]:
    """A locked handle of ``path`` and its (device, inode).

    Raises:
        BlockingIOError: somebody holds the lock.
        OSError: the file cannot be made or locked.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opening and closing a file drops this process's lock on it, hence the look before.
        with suppress(FileNotFoundError):
            if _key(path.stat()) in _held:
                raise BlockingIOError
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError as error:  # what some systems say instead of BlockingIOError
            os.close(handle)
            raise BlockingIOError from error
        except OSError:
            os.close(handle)
            raise
        with suppress(FileNotFoundError):
            if _key(path.stat()) == _key(os.fstat(handle)):
                return handle, _key(os.fstat(handle))
        os.close(handle)  # the folder was moved aside between opening and locking


def _key(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _holder(path: Path) -> str:
    """`` (process 123)`` when the lock file names it. Reading through a held lock's file would drop it."""
    with suppress(OSError):
        if _key(path.stat()) in _held:
            return f" (process {os.getpid()}, this one)"
        text = path.read_text(encoding="ascii", errors="replace").strip()
        if text.isdigit():
            return f" (process {text})"
    return ""
