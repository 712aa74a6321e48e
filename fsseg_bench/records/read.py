"""Reading records that others wrote: what is truncated, edited or incomplete is named, never guessed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.files import parse_lines
from fsseg_bench.records.identity import identity_hash
from fsseg_bench.records.run import EPISODES_FILE, RUN_FILE, SCHEMA, TABLE_FILE, Status

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

_ASIDE = re.compile(r"\.old-\d+$")
_DIAGNOSTICS = re.compile(rb',"diagnostics":.*')
_ONLY_DIGITS = bytes(c if c in b"0123456789" else ord(" ") for c in range(256))
_MOST_PIXELS = 2**48  # sums of counts below this stay within int64
_OPTIONAL: dict[str, type] = {
    "precision": str,
    "scales": list,
    "recipe": dict,
    "switches": dict,
    "class_names": dict,
}
_REQUIRED: dict[str, type] = {
    "protocol": str,
    "protocol_label": str,
    "protocol_version": int,
    "protocol_digest": str,
    "episode_digest": str,
    "method": str,
    "backbone": str,
    "fold": int,
    "way": int,
    "shot": int,
    "seed": int,
    "novel": list,
    "headline": str,
}


class RecordError(UserError):
    """A record that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class RecordWarning:
    """A record that was skipped."""

    path: Path
    """The file or folder."""
    message: str
    """What is wrong with it; names the path."""


class EpisodeCounts(NamedTuple):
    """The counts of a run's E episodes, N ways; rows are labels, columns predictions, void is left out."""

    classes: Int64
    """(E, N) label values; the first way is the query's class."""
    input: Int64
    """(E, N+1, N+1) pixels at the protocol's input size."""
    native: Int64
    """(E, N+1, N+1) pixels at the query's native size."""


@dataclass(frozen=True)
class StoredRun:
    """A run as its record tells it. Build it with :func:`read_run`."""

    folder: Path
    """The run's folder."""
    info: Mapping[str, Any] = field(repr=False)
    """The content of run.json."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What determines the run's numbers."""
        settings: Mapping[str, Any] = self.info["settings"]
        return settings

    @property
    def status(self) -> Status:
        """How far the run is."""
        status: Status = self.info["status"]
        return status

    @property
    def fold(self) -> int:
        """1..4."""
        return int(self.settings["fold"])

    @property
    def novel(self) -> tuple[int, ...]:
        """Label values of the fold's held-out classes."""
        return tuple(self.settings["novel"])

    def counts(self) -> EpisodeCounts:
        """The counts of all episodes.

        Raises:
            RecordError: the run is not done, or its episode log is missing, edited or does not fit its
                settings.
        """
        path = self.folder / EPISODES_FILE
        if self.status != "done":
            raise RecordError(f"{self.folder}: the run is not done (status {self.status})")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
        sealed = self.info.get("episodes")
        if not isinstance(sealed, Mapping) or hashlib.sha256(data).hexdigest() != sealed.get("sha256"):
            raise RecordError(f"{path}: changed since the run was done (its SHA-256 is not the recorded one)")
        return _counts(data, int(self.settings["way"]), set(self.novel), path)

    def table(self) -> EpisodeTable | None:
        """The classes and images of each episode; None in records from before they were stored.

        Raises:
            RecordError: the file cannot be read, or holds other episodes than the run's settings say.
        """
        return None if self.table_bytes() is None else EpisodeTable.from_csv(self.folder / TABLE_FILE)

    def table_bytes(self) -> bytes | None:
        """The file that :meth:`table` reads, verified but not parsed.

        Raises:
            RecordError: as :meth:`table`.
        """
        path = self.folder / TABLE_FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.settings["episode_digest"]:
            raise RecordError(f"{path}: these are not the episodes of the run (their SHA-256 is not the recorded one)")
        return data


def read_run(folder: Path) -> StoredRun:
    """The record in ``folder``.

    Raises:
        RecordError: run.json is missing, truncated, edited or of another schema; names it and what is wrong.
    """
    path = folder / RUN_FILE
    try:
        info = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON, truncated or edited: {error}") from None
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        raise RecordError(f"{path}: not a record of schema {SCHEMA}")
    if info.get("status") not in get_args(Status):
        raise RecordError(f"{path}: status is {info.get('status')!r}; known: {', '.join(get_args(Status))}")
    settings = info.get("settings")
    if not isinstance(settings, dict):
        raise RecordError(f"{path}: settings is missing")
    present = {key: kind for key, kind in _OPTIONAL.items() if key in settings}
    for key, kind in (_REQUIRED | present).items():
        if type(settings.get(key)) is not kind:
            raise RecordError(f"{path}: settings.{key} is {settings.get(key)!r}; it must be of type {kind.__name__}")
    if not all(type(value) is int for value in settings["novel"]):
        raise RecordError(f"{path}: settings.novel must hold whole numbers")
    if settings["way"] < 1 or settings["headline"] not in {"input", "native"}:
        raise RecordError(f"{path}: settings.way must be at least 1 and settings.headline input or native")
    if identity_hash(settings) != info.get("identity"):
        raise RecordError(f"{path}: edited: its settings do not have the identity it states")
    return StoredRun(folder, info)


def find_records(root: Path) -> tuple[tuple[StoredRun, ...], tuple[RecordWarning, ...]]:
    """All readable records under ``root``, sorted by folder, and a warning for each that is not.

    Folders that ``--fresh`` moved aside are left out.

    Raises:
        UserError: there is no folder ``root``.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such results folder; name one with --results, or run something first")
    runs, warnings = [], []
    for folder in _record_folders(root):
        try:
            runs.append(read_run(folder))
        except RecordError as error:
            warnings.append(RecordWarning(folder, str(error)))
    return tuple(runs), tuple(warnings)


def _record_folders(root: Path) -> list[Path]:
    found = []
    for name, folders, files in os.walk(root):
        if RUN_FILE in files or EPISODES_FILE in files:
            found.append(Path(name))
            folders.clear()
        else:
            folders[:] = [folder for folder in folders if not _ASIDE.search(folder)]
    return sorted(found)


def _counts(data: bytes, way: int, novel: set[int], path: Path) -> EpisodeCounts:
    """The counts of an episode log's content."""
    import numpy as np

    found = _plain_numbers(data, way)
    table = _parsed_numbers(data, way, path) if found is None else found
    if not np.array_equal(table[:, 0], np.arange(len(table))):
        raise RecordError(f"{path}: the episodes are not numbered 0, 1, 2, ...")
    if table.max(initial=0) >= _MOST_PIXELS:
        raise RecordError(f"{path}: a count is {_MOST_PIXELS} or more")
    cells = (way + 1) ** 2
    classes, entered, native = np.split(table[:, 1:], [way, way + cells], axis=1)
    if not set(np.unique(classes).tolist()) <= novel:
        raise RecordError(f"{path}: an episode has a class that is not held out in the run's fold")
    square = (len(table), way + 1, way + 1)
    return EpisodeCounts(classes, entered.reshape(square), native.reshape(square))


def _plain_numbers(data: bytes, way: int) -> Int64 | None:
    """(E, 1 + N + 2 (N+1)^2) the numbers of each line, when all lines look as the engine writes them; else None.

    Several times as fast as JSON; what a method recorded beside its counts is cut off unread.
    """
    import numpy as np

    if _lines_pattern(way).fullmatch(data) is None:
        return None
    digits = _DIAGNOSTICS.sub(b"", data).translate(_ONLY_DIGITS).decode("ascii")
    return np.fromstring(digits, dtype=np.int64, sep=" ").reshape(-1, _width(way))


@cache
def _lines_pattern(way: int) -> re.Pattern[bytes]:
    """Lines of the log; repetitions are possessive: a line that does not fit is not tried in other ways."""
    number = rb"(?:0|[1-9]\d{0,17}+)"
    lists = ((b"classes", way), (b"input", (way + 1) ** 2), (b"native", (way + 1) ** 2))
    fields = [rb'"%s":\[%s(?:,%s){%d}+\]' % (key, number, number, count - 1) for key, count in lists]
    rest = rb'(?:\}|,"diagnostics":\{[^\n]*+(?<=\}\}))\n'
    return re.compile(rb'(?:\{"episode":%s,%s%s)*+' % (number, b",".join(fields), rest))


def _parsed_numbers(data: bytes, way: int, path: Path) -> Int64:
    """As :func:`_plain_numbers`, for any JSON with the right keys.

    Raises:
        RecordError: a row has not; LinesError: a line is no JSON object.
    """
    import numpy as np

    cells = (way + 1) ** 2
    rows = parse_lines(data, path)
    table = []
    for row in rows:
        numbers = [row.get("episode")]
        for key, width in (("classes", way), ("input", cells), ("native", cells)):
            values = row.get(key)
            if not (isinstance(values, list) and len(values) == width and all(map(_countable, values))):
                raise RecordError(f"{path}: {key!r} must hold {width} whole numbers of at least 0 in every row")
            numbers += values
        table.append(numbers if _countable(numbers[0]) else [-1, *numbers[1:]])
    return np.array(table, dtype=np.int64).reshape(len(rows), _width(way))


def _width(way: int) -> int:
    return 1 + way + 2 * (way + 1) ** 2


def _countable(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_PIXELS
