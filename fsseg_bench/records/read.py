"""Reading records that others wrote: what is truncated, edited or incomplete is named, never guessed."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.counts import EpisodeCounts, VoidCounts, parse_boundary, parse_counts, parse_void
from fsseg_bench.records.info import (
    EPISODES_FILE,
    EVALUATED_FILE,
    RUN_FILE,
    TABLE_FILE,
    RecordError,
    RunInfo,
    Status,
    read_info,
)
from fsseg_bench.records.lines import Chain, Inspect, parse_lines
from fsseg_bench.records.owner import owner_of
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.settings import CONTENT, RunSettings, ShownSettings, settings_shown

if TYPE_CHECKING:
    from fsseg_bench.protocol.table import EpisodeTable

__all__ = ["EpisodeCounts", "RecordError", "RecordWarning", "StoredRun", "find_records", "read_run"]

_MOST_NAMED = 3
ASIDE = re.compile(r"\.old-\d+$")


class LeftOutError(RecordError):
    """A file that was there when the run was done, and was left out of the pack that the record came in."""


@dataclass(frozen=True)
class RecordWarning:
    """A record that was skipped."""

    path: Path
    """The file or folder."""
    message: str
    """What is wrong with it; names the path."""


@dataclass(frozen=True)
class StoredRun:
    """A run as its record tells it. Build it with :func:`read_run`."""

    folder: Path
    """The run's folder."""
    info: RunInfo = field(repr=False)
    """The content of run.json."""

    @cached_property
    def settings(self) -> ShownSettings:
        """What determines the run's numbers; of an evaluated checkpoint with the recipe and seed of its training."""
        return settings_shown(self.info.settings, self.info.trained)

    @property
    def status(self) -> Status:
        """How far the run is."""
        return self.info.status

    @property
    def fold(self) -> int:
        """From 1."""
        return self.settings.fold

    @property
    def folds(self) -> range:
        """All folds of the protocol."""
        return range(1, 1 + self.info.folds)

    @cached_property
    def owner(self) -> str:
        """Whose it is, of a record that came in a pack; empty of one that was made here.

        Raises:
            RecordError: the note of it cannot be read.
        """
        found = owner_of(self.folder)
        return found.name if found else ""

    @property
    def repeats(self) -> bool:
        """Whether the recorded command makes this one run again from any folder; that of version 0.1.0 is as typed."""
        return "typed" in self.info.document.get("provenance", {})

    @property
    def novel(self) -> tuple[int, ...]:
        """Label values of the fold's held-out classes."""
        return self.settings.novel

    @property
    def runs(self) -> int:
        """How many runs of equal length the episodes are, whose scores are averaged."""
        return self.settings.runs or 1

    def counts(self) -> EpisodeCounts:
        """The counts of all episodes.

        Raises:
            RecordError: the run is not done, or its episode log is missing, edited or does not fit its
                settings.
        """
        data, path = self.episode_log()
        counts = parse_counts(data, self.settings.way, set(self.novel), path)
        if self.settings.boundary is None:
            return counts
        return counts._replace(boundary=parse_boundary(data, self.settings.way, path))

    def void_counts(self) -> VoidCounts | None:
        """What was predicted at void pixels; None where a version recorded the run that did not count them.

        Raises:
            RecordError: as :meth:`counts`.
        """
        data, path = self.episode_log()
        return parse_void(data, self.settings.way, path)

    def episode_log(self) -> tuple[bytes, Path]:
        """The content of ``episodes.jsonl`` as it was when the run was done, and its path; nothing is parsed.

        Raises:
            RecordError: the run is not done, or the file is missing or was changed.
        """
        path, seal = self.folder / EPISODES_FILE, self.info.episodes
        if self.status != "done":
            raise RecordError(f"{self.folder}: the run is not done (status {self.status})")
        data = _unchanged(path, seal.sha256 if seal else "")
        if data is None:
            raise RecordError(f"{path}: cannot be read: {os.strerror(errno.ENOENT)}")
        return data, path

    def content(self, name: str) -> bytes:
        """A file beside run.json, as it was when the run was done.

        Files that came later, and those of runs by earlier versions, are taken as they are.

        Raises:
            RecordError: it cannot be read, or was changed since the run was done; LeftOutError: it was left out of the
                pack that the record came in.
            FileNotFoundError: there is none, and there was none.
        """
        path, sealed = self.folder / name, self.info.files.get(name)
        if (data := _unchanged(path, sealed)) is not None:
            return data
        if sealed is None:
            raise FileNotFoundError(path)
        if (owner := owner_of(self.folder)) and owner.left(name):
            raise LeftOutError(f"{path}: was left out of the pack that the record came in")
        raise RecordError(f"{path}: is missing since the run was done")

    def lines(self, name: str, inspect: Inspect | None = None) -> list[dict[str, Any]]:
        """The rows of a line log beside run.json; none when there is no such file.

        Raises:
            RecordError, LinesError: as :meth:`content`; a line is damaged, or ``inspect`` refuses it.
        """
        try:
            data = self.content(name)
        except FileNotFoundError:
            return []
        return parse_lines(data, self.folder / name, Chain(None), inspect)

    def table(self) -> EpisodeTable | None:
        """The classes and images of each episode; None in records from before they were stored.

        Raises:
            RecordError: the file cannot be read, or holds other episodes than the run's settings say.
        """
        from fsseg_bench.protocol.table import EpisodeTable  # it brings numpy, which listing runs does without

        data = self.table_bytes()
        return None if data is None else EpisodeTable.from_text(data.decode(), self.folder / TABLE_FILE)

    def table_bytes(self) -> bytes | None:
        """The file that :meth:`table` reads, verified but not parsed.

        Raises:
            RecordError: as :meth:`table`.
        """
        told = "these are not the episodes of the run (their SHA-256 is not the recorded one)"
        return _unchanged(self.folder / TABLE_FILE, self.settings.episode_digest, told)


def _unchanged(
    path: Path, sha256: str | None, told: str = "changed since the run was done (its SHA-256 is not the recorded one)"
) -> bytes | None:
    """What a file holds; None where there is none.

    Raises:
        RecordError: it cannot be read, or has another SHA-256 (None allows any).
    """
    try:
        data = regular(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError(f"{path}: {told}")
    return data


def same_classes(counts: EpisodeCounts, table: EpisodeTable) -> bool:
    """Whether counts have the classes of the episodes, each in its place."""
    return list(map(tuple, counts.classes.tolist())) == list(table.classes)


def read_run(folder: Path) -> StoredRun:
    """The record in ``folder``.

    Raises:
        RecordError: as :func:`fsseg_bench.records.info.read_info`.
    """
    return StoredRun(folder, read_info(folder / RUN_FILE))


def find_records(root: Path) -> tuple[tuple[StoredRun, ...], tuple[RecordWarning, ...]]:
    """All readable records under ``root``, sorted by folder, and a warning for each record or folder that is not.

    Folders that ``--fresh`` moved aside are left out.

    Raises:
        UserError: there is no folder ``root``.
    """
    folders, warnings = record_folders(root)
    runs = []
    for folder in folders:
        found = try_record(folder)
        if isinstance(found, RecordWarning):
            warnings.append(found)
        else:
            runs.append(found)
    return tuple(runs), tuple(warnings)


def try_record(folder: Path) -> StoredRun | RecordWarning:
    """The record in ``folder``, or why it cannot be used."""
    try:
        str(folder).encode()
        return read_run(folder)
    except UnicodeEncodeError:
        return RecordWarning(folder, f"{str(folder)!a}: the folder's name is not valid UTF-8; rename it")
    except RecordError as error:
        return RecordWarning(folder, str(error))


def record_folders(root: Path) -> tuple[list[Path], list[RecordWarning]]:
    """The folders from ``root`` down that hold a record, sorted, and those that may not be looked into.

    Raises:
        UserError: there is no folder ``root``.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such results folder; name one with --results, or run something first")
    found, closed = [], []

    def refused(error: OSError) -> None:
        path = Path(error.filename or root)
        told = f"{path}: cannot be looked into, so its records are missing: {error.strerror or error}"
        closed.append(RecordWarning(path, told))

    for name, folders, files in os.walk(root, onerror=refused):
        if RUN_FILE in files or EPISODES_FILE in files:
            found.append(Path(name))  # and on below: a stray file must not hide the records there
        folders[:] = [folder for folder in folders if not ASIDE.search(folder)]
    return sorted(found), closed


def runs_with_other_content(record: RunRecord) -> list[str]:
    """Runs beside ``record`` whose settings differ from its in :data:`CONTENT` alone, with what is other there."""
    settings = record.info.settings
    own = evaluated_images(record.folder, settings)
    alike = record.folder.name.rpartition("-")[0]  # all but the identity
    found = []
    for folder in sorted(record.folder.parent.iterdir()):
        if folder == record.folder or folder.name.rpartition("-")[0] != alike or not (folder / RUN_FILE).is_file():
            continue
        try:
            other = read_run(folder)
        except RecordError:
            continue
        if other.info.settings.without(*CONTENT) == settings.without(*CONTENT):
            theirs = evaluated_images(folder, other.info.settings)
            found.append(f"{folder}: {_words(other, settings)}{_which(theirs, own)}")
    return found


def evaluated_images(folder: Path, settings: RunSettings) -> dict[str, tuple[str, str]]:
    """Image id to the digests of its file and of its labels; empty where the record has them not, or no longer."""
    try:
        data = regular(folder / EVALUATED_FILE).read_bytes()
    except OSError:
        return {}
    if hashlib.sha256(data).hexdigest() != settings.evaluated_digest:
        return {}
    return {image: (pixels, labels) for image, pixels, labels in list(csv.reader(data.decode().splitlines()))[1:]}


def _words(other: StoredRun, settings: RunSettings) -> str:
    theirs = {key: getattr(other.info.settings, key) for key in CONTENT}
    differ = [key for key, value in theirs.items() if value != getattr(settings, key)]
    parts = [CONTENT[key] + ("" if theirs[key] else " (not noted there)") for key in differ]
    return f"a run with the same settings, but other {', '.join(parts)}; this one begins anew"


def _which(theirs: Mapping[str, tuple[str, str]], own: Mapping[str, tuple[str, str]]) -> str:
    """The images that differ, where both records tell and have the same ones."""
    if theirs.keys() != own.keys():
        return ""
    differ = [image for image in own if own[image] != theirs[image]]
    more = f" and {len(differ) - _MOST_NAMED} more" if len(differ) > _MOST_NAMED else ""
    return f" (changed: {', '.join(differ[:_MOST_NAMED])}{more})" if differ else ""
