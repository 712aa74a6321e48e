"""Files that a kill or a full disk never damages: atomic replacement and append-only lines."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".tmp"
"""Suffix of files that are not finished; their names start with a dot."""


def write_error(path: Path, error: OSError) -> UserError:
    """What to tell the user when ``path`` cannot be written."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return UserError(
            f"{path}: the disk is full ({reason}). Nothing recorded before is lost; make room and give the "
            "same command again: it goes on where it stopped"
        )
    return UserError(f"{path}: cannot be written: {reason}")


class atomic_writer:  # noqa: N801 - used as a function in a with statement
    """A binary file that becomes ``path`` when the block ends well, and leaves no trace when it does not.

    The data are on the disk (fsync of file and folder) before the name changes, so that readers and a crash
    see the old file or the new one, never a part.

    Raises:
        UserError: full disk or unwritable folder; names ``path``. A serialiser that turns a failed write into
            an exception of its own (as torch's does) gives this error as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")

    def __enter__(self) -> BinaryIO:
        try:
            if self._path.exists():  # a device or pipe would be replaced by a file, for everybody on the machine
                regular(self._path)
            self._raw = _Watched(self._temporary, "xb")
        except OSError as error:
            raise write_error(self._path, error) from error
        self._file = io.BufferedWriter(self._raw)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as failure:
            raise write_error(self._path, failure) from failure
        finally:
            self._raw.close()
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
        if self._raw.failure is not None:
            raise write_error(self._path, self._raw.failure) from error

    def _commit(self) -> None:
        self._file.flush()
        os.fsync(self._raw.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)


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
    """Replaces the content of ``path`` (text as UTF-8); see :func:`atomic_writer`.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    with atomic_writer(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, obj: Any) -> None:
    """Replaces ``path`` by ``obj`` as indented JSON; numbers that are not finite become null.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    text = json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")


def plain(obj: Any) -> Any:
    """``obj`` with JSON's types only: keys as text, tuples as lists, numpy scalars as numbers, NaN as None.

    Raises:
        TypeError: a value has no JSON form.
    """
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if obj is None or isinstance(obj, (str, bool, int)):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Path):
        return str(obj)
    if callable(getattr(obj, "tolist", None)):  # numpy scalars and arrays, without importing numpy
        return plain(obj.tolist())
    raise TypeError(f"{type(obj).__name__} has no JSON form: {obj!r}")


def sync_folder(folder: Path) -> None:
    """Makes new names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
