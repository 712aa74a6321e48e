"""Files of torch.save that tell whether they are damaged: ``torch.load`` itself checks no sum.

A sealed file is an ordinary one whose zip comment holds the SHA-256 of every byte before the comment, so that
``torch.load(..., weights_only=True)`` reads it as any other. It is written in one go with the content.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_MARK = b"fsseg-bench sha256 "
_COMMENT = len(_MARK) + hashlib.sha256().digest_size * 2
_END = b"PK\x05\x06"
_END_SIZE = 22  # of a zip's last record without its comment; its last two bytes are the comment's length
_START = b"PK\x03\x04"
_CHUNK = 1 << 20
DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError, EOFError, OverflowError),
)
"""What zipfile, torch.load and its unpickler raise on damaged files."""


class State(NamedTuple):
    """What a file's sums say."""

    sealed: bool
    """Whether it was written by :func:`save_sealed` and is as it was then."""
    damage: str
    """What is wrong; empty where nothing is known to be."""


def save_sealed(content: Any, file: BinaryIO) -> None:
    """``torch.save`` with the seal."""
    import torch  # only here: whoever compares sums does without

    sealing = _Sealing(file)
    torch.save(content, sealing)  # type: ignore[arg-type]  # it needs write and flush alone
    sealing.finish()


class _Sealing:
    """Passes on what is written, and keeps the zip's last record back until its comment is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._held = b""

    def write(self, data: Any) -> int:
        new = memoryview(data).cast("B")
        if len(new) < _END_SIZE:
            joined = self._held + bytes(new)
            self._pass(memoryview(joined[:-_END_SIZE]))
            self._held = joined[-_END_SIZE:]
        else:
            self._pass(memoryview(self._held))
            self._pass(new[:-_END_SIZE])
            self._held = bytes(new[-_END_SIZE:])
        return len(new)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> None:
        if not self._held.startswith(_END) or not self._held.endswith(b"\0\0"):
            raise AssertionError("torch.save ends a file in another way than with a zip's record; it cannot be sealed")
        self._pass(memoryview(self._held[:-2] + struct.pack("<H", _COMMENT)))
        self._file.write(_MARK + self._digest.hexdigest().encode())

    def _pass(self, data: memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)


def state_of(path: Path) -> State:
    """Reads a file of torch.save once and compares its sums.

    A sealed file is compared as a whole, another zip member by member (CRC-32). Files from before torch wrote zips have
    no sums.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_START)) != _START:
            return State(False, "")
        size = file.seek(0, 2)
        file.seek(max(0, size - _COMMENT - _END_SIZE))
        tail = file.read()
        if tail[: len(_END)] == _END and tail[_END_SIZE:].startswith(_MARK):
            stated = tail[_END_SIZE + len(_MARK) :].decode("ascii", "replace")
            found = _digest(file, size - _COMMENT)
            return State(found == stated, "" if found == stated else "its SHA-256 is not the one that it states")
        if not (tail[-_END_SIZE:].startswith(_END) and tail.endswith(b"\0\0")):
            return State(False, "it does not end where torch.save ends a file")
    return State(False, _members(path))


def _digest(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        part = file.read(min(size, _CHUNK))
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()


def _members(path: Path) -> str:
    """What is wrong with the sums of a zip's members."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            wrong = archive.testzip()
    except DAMAGED as error:
        return str(error) or type(error).__name__
    if len(set(names)) < len(names):
        return "a part of it is there twice"
    return f"the sum of its part {wrong} is wrong" if wrong else ""
