"""Append-only files of JSON lines in which any damage shows.

The last key of a line, ``check``, is the beginning of a SHA-256 over the check before it and the line's own text. A
line that is lost, doubled, moved or changed therefore does not fit the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.info import CHECK, RecordError
from fsseg_bench.storage.files import write_all, writing
from fsseg_bench.storage.json_text import plain, strict_json

Row = dict[str, Any]
Inspect = Callable[[int, Row], str | None]
"""What is wrong with row i (from 0); None where nothing is."""

_DIGITS = 16
SYNC_EVERY = 50
"""Lines of a log between two waits for the disk."""
_STORED = re.compile(rb',"check":"([0-9a-f]{16})"\}$')


class LinesError(RecordError):
    """A file of lines is damaged."""


class Damage(NamedTuple):
    """The first line that cannot be used."""

    row: int
    """From 0."""
    reason: str

    def __str__(self) -> str:
        return f"row {self.row} is damaged ({self.reason})"


@dataclass(frozen=True)
class Chain:
    """How the lines of a file are checked."""

    seed: str | None = None
    """What the first check begins with (the run's identity); None: whatever the first line states is believed."""
    required: bool = False
    """Whether every line must have a check; else only those after the first that has one (earlier versions)."""


class Sound(NamedTuple):
    """What of a file can be used."""

    rows: list[Row]
    """Without their checks."""
    size: int
    """Bytes that they take."""
    state: str | None
    """The check that the next line builds on."""
    damage: Damage | None
    """What comes after them, unless it is nothing or the beginning of a line (a kill while it was written)."""


def sound_lines(data: bytes, chain: Chain = Chain(), inspect: Inspect | None = None) -> Sound:
    """The rows of a file's content up to the first that is damaged, doubled, out of place or wrong."""
    whole = data[: data.rfind(b"\n") + 1]
    rows: list[Row] = []
    size, state, required = 0, chain.seed, chain.required
    for line in whole.split(b"\n")[:-1]:
        found = _STORED.search(line)
        body = line[: found.start()] + b"}" if found else line
        expected = None if state is None else _link(state, body)
        reason = None
        if found is None and required:
            reason = "it has no check"
        elif found is not None and expected not in {None, found[1].decode()}:
            reason = "its check does not fit: it was changed, or lines before it are lost or doubled"
        row = None if reason else _row(body)
        if isinstance(row, str):
            reason = row
        elif row is not None and inspect is not None:
            reason = inspect(len(rows), row)
        if reason or not isinstance(row, dict):
            return Sound(rows, size, state, Damage(len(rows), reason or "it is not a JSON object"))
        rows.append(row)
        size += len(line) + 1
        required = required or found is not None
        state = found[1].decode() if found else expected
    return Sound(rows, size, state, None)


def _link(state: str, body: bytes) -> str:
    return hashlib.sha256(state.encode() + b"\n" + body).hexdigest()[:_DIGITS]


def _row(body: bytes) -> Row | str:
    """The row of a line, or what is wrong with it."""
    try:
        row = strict_json(body)
    except ValueError as error:
        return f"it is not a JSON object: {error}"
    if not isinstance(row, dict):
        return "it is not a JSON object"
    return row if CHECK not in row else "its check is not where it belongs"


class LineLog(AbstractContextManager["LineLog"]):
    """An append-only file of JSON lines; every line is whole or absent, and checked (see the module).

    Each line reaches the operating system when it is appended (so it survives a kill of the process) and the
    disk every :data:`SYNC_EVERY` lines and on :meth:`close`.
    """

    def __init__(
        self,
        path: Path,
        chain: Chain = Chain(""),
        *,
        inspect: Inspect | None = None,
        until: Callable[[Row], bool] | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """Opens or creates ``path``; cuts off what is torn or damaged, which :attr:`damage` then tells.

        The chain has a seed. Rows from the first one for which ``until`` is true are cut off as well. ``guard`` is
        called before each line, and raises an error where it must not be written.

        Raises:
            UserError: the file cannot be opened or written.
        """
        if chain.seed is None:
            raise ValueError("a log that is written needs a seed")
        self.path = path
        self._guard = guard
        self._unsynced = 0
        with writing(path):
            if path.exists():
                regular(path)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            data = path.read_bytes()
            sound = sound_lines(data, chain, inspect)
            kept = next((i for i, row in enumerate(sound.rows) if until(row)), None) if until else None
            self.cut = 0 if kept is None else len(sound.rows) - kept
            """Sound rows that were cut off, as ``until`` wanted."""
            if kept is not None:
                sound = sound_lines(b"".join(data.splitlines(keepends=True)[:kept]), chain, inspect)
            self.damage = sound.damage
            self.rows = len(sound.rows)
            """How many lines the file has."""
            self._size, self._state = sound.size, sound.state or ""
            os.ftruncate(self._handle, self._size)

    def append(self, obj: Mapping[str, Any]) -> None:
        """Adds one line.

        Raises:
            UserError: full disk; the file keeps every earlier line and no part of this one. Or as ``guard``.
        """
        if self._guard is not None:
            self._guard()
        body = json.dumps(plain(obj), separators=(",", ":"), ensure_ascii=False).encode()
        state = _link(self._state, body)
        data = b'%s,"%s":"%s"}\n' % (body[:-1], CHECK.encode(), state.encode())
        with writing(self.path):
            try:
                write_all(self._handle, data, self._size)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._handle, self._size)
                raise
        self._state = state
        self._size += len(data)
        self.rows += 1
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Waits until all lines are on the disk.

        Raises:
            UserError: the disk did not take them.
        """
        self._unsynced = 0
        with writing(self.path):
            os.fsync(self._handle)

    def close(self) -> None:
        """Syncs and closes; a second call does nothing."""
        if self._handle >= 0:
            try:
                self.sync()
            finally:
                os.close(self._handle)
                self._handle = -1

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_lines(data: bytes, path: Path, chain: Chain = Chain(), inspect: Inspect | None = None) -> list[Row]:
    """The rows of a line log's content; the beginning of a last line is left out.

    Raises:
        LinesError: a line is damaged; names ``path`` and the line.
    """
    sound = sound_lines(data, chain, inspect)
    if sound.damage:
        number, reason = sound.damage.row + 1, sound.damage.reason
        raise LinesError(f"{path}: line {number}: {reason}; the file was edited or damaged")
    return sound.rows


def read_lines(path: Path, chain: Chain = Chain(), inspect: Inspect | None = None) -> list[Row]:
    """The rows of a line log; none when the file does not exist.

    Raises:
        LinesError: as :func:`parse_lines`.
        UserError: the file cannot be read.
    """
    try:
        return parse_lines(regular(path).read_bytes(), path, chain, inspect)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def count_lines(path: Path) -> int:
    """How many lines a log has, without a look into them; 0 where it cannot be read."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
