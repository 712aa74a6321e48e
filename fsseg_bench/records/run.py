"""One run's folder while it is written: identity, state, logs. Reading finished ones is in ``read.py``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.records.command import repeating
from fsseg_bench.records.counts import parse_counts
from fsseg_bench.records.info import (
    CHECK,
    CHECKPOINT_FILE,
    EPISODES_FILE,
    EVALUATED_FILE,
    PREDICTIONS_FILE,
    RUN_FILE,
    SCHEMA,
    TABLE_FILE,
    TRAIN_FILE,
    RecordError,
    RunInfo,
    Status,
    existing_info,
    is_empty,
    moved_aside,
    run_folder,
    write_info,
)
from fsseg_bench.records.lines import Chain, Inspect, LineLog, Row, parse_lines, read_lines
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import RunSettings, differences
from fsseg_bench.records.training import loss_row
from fsseg_bench.storage.files import remove_leftovers, write_atomic, writing
from fsseg_bench.storage.json_text import plain
from fsseg_bench.storage.lock import FolderLock

if TYPE_CHECKING:
    from fsseg_bench.protocol.table import EpisodeTable

_PANELS = "panels"
_CHECKED_LINES = "checked"
_OWN_TO_EACH = {"command", "process", "job"}
"""What each session has of its own; the command is made of what is compared, and of options like ``--workers``."""
_FIXED = {
    *("schema", "identity", "settings", "folds", "passed", "provenance", "created"),
    *("lines", "resumed", "episodes", "files", CHECK),
}


@dataclass(eq=False)
class RunRecord(AbstractContextManager["RunRecord"]):
    """The record of one run, open for writing. Use it in a ``with`` statement or call :meth:`close`."""

    folder: Path
    """The run's folder."""
    info: RunInfo
    """The content of run.json."""
    _lock: FolderLock
    _table: EpisodeTable | None = None

    @classmethod
    def create(
        cls,
        root: Path,
        settings: RunSettings,
        request: RunRequest,
        *,
        folds: int,
        threads: int | None = None,
        processes: int = 1,
        device: str | None = None,
    ) -> RunRecord:
        """Makes the run's folder, or reopens it when it holds the same run.

        With ``request.fresh`` an existing folder is moved aside (to ``<name>.old-<n>``; nothing is deleted). How many
        ``folds`` the protocol has is no part of the identity, which has the protocol's digest. The ``threads`` that
        compute on the CPU, the ``processes`` that train together and the model of the ``device`` are noted, and named
        when a resumed run has others.

        Raises:
            UserError: the folder holds another identity, an unreadable record or files of unknown origin; it cannot be
                written.
            LockedError: another process is writing there.
            FullDiskError: the disk is full.
        """
        folder = run_folder(root, settings)
        software = {**provenance(), "command": repeating(request, settings, threads), "threads": threads}
        if processes > 1:
            software["processes"] = processes
        if device is not None:
            software["device"] = device
        lock = FolderLock(folder)
        try:
            with writing(folder):
                if request.fresh and not is_empty(folder):
                    lock = moved_aside(folder, lock)
                info = existing_info(folder, settings)
                if info is None:
                    info = write_info(folder / RUN_FILE, _new(settings, request, folds, software))
                elif info.status != "done":
                    info = write_info(folder / RUN_FILE, _resumed(info, software))
                for place in (folder, folder / _PANELS):
                    remove_leftovers(place)
        except UserError:
            lock.release()
            raise
        return cls(folder, info, lock)

    @property
    def status(self) -> Status:
        """How far the run is."""
        return self.info.status

    @property
    def identity(self) -> str:
        """The hash that tells the run from others."""
        return self.info.identity

    @property
    def checkpoint(self) -> Path:
        """Where the training state belongs."""
        return self.folder / CHECKPOINT_FILE

    @property
    def episodes_path(self) -> Path:
        """The log with one row of counts an episode."""
        return self.folder / EPISODES_FILE

    @property
    def train_path(self) -> Path:
        """The log with one row a training iteration."""
        return self.folder / TRAIN_FILE

    def keep_table(self, table: EpisodeTable) -> None:
        """Stores the episodes beside their counts, so that statistics know the images without the data.

        Raises:
            UserError: the file cannot be written.
            ValueError: these are not the episodes of the run's settings.
        """
        if table.digest != self.info.settings.episode_digest:
            raise ValueError(f"{self.folder}: the episode table is not that of the settings")
        write_atomic(self.folder / TABLE_FILE, table.text())
        self._table = table

    def keep_evaluated(self, text: str) -> None:
        """Stores what the test images and their labels hold, so that a later run can say which of them are others.

        The text is CSV with the columns ``image``, ``image_sha256`` and ``label_sha256``.

        Raises:
            UserError: the file cannot be written.
            ValueError: this is not the content of the run's settings.
        """
        if hashlib.sha256(text.encode()).hexdigest() != self.info.settings.evaluated_digest:
            raise ValueError(f"{self.folder}: the evaluated images are not those of the settings")
        write_atomic(self.folder / EVALUATED_FILE, text)

    def episode_log(self, inspect: Inspect | None = None, until: int | None = None) -> LineLog:
        """The log of episodes, open for appending; close it before the run is done.

        What is damaged, or refused by ``inspect``, is cut off: see :attr:`LineLog.damage`. So are the episodes from
        ``until`` on.
        """
        return self._by_episode(EPISODES_FILE, inspect, until)

    def prediction_log(self, inspect: Inspect | None = None, until: int | None = None) -> LineLog:
        """The log of predictions; as :meth:`episode_log`."""
        return self._by_episode(PREDICTIONS_FILE, inspect, until)

    def _by_episode(self, name: str, inspect: Inspect | None, until: int | None) -> LineLog:
        def beyond(row: Row) -> bool:
            return until is not None and row["episode"] >= until

        return LineLog(self.folder / name, self._chain, inspect=inspect, until=beyond, guard=self._lock.check)

    def train_log(self, inspect: Inspect | None = None, until: Callable[[Row], bool] | None = None) -> LineLog:
        """The log of training, open for appending; rows from the first for which ``until`` is true are cut off."""
        return LineLog(self.train_path, self._chain, inspect=inspect, until=until, guard=self._lock.check)

    @property
    def _chain(self) -> Chain:
        return Chain(self.info.identity, required=self.info.lines == _CHECKED_LINES)

    def rows(self) -> list[Row]:
        """The rows of the episode log.

        Raises:
            LinesError: one is damaged.
            UserError: the file cannot be read.
        """
        return read_lines(self.episodes_path, self._chain)

    def predictions(self) -> list[Row]:
        """The rows of the log of predictions; errors as :meth:`rows`."""
        return read_lines(self.folder / PREDICTIONS_FILE, self._chain)

    def training_rows(self) -> list[Row]:
        """The rows of the training log; errors as :meth:`rows`."""
        return read_lines(self.train_path, self._chain, loss_row)

    def note(self, text: str) -> None:
        """Adds what was found damaged and mended to the record of this session.

        Raises:
            UserError: run.json cannot be written, or another machine has taken over the folder.
        """
        self._lock.check()
        *earlier, last = self.info.resumed or [{"time": _now(), "changed": []}]
        last = {**last, "mended": [*last.get("mended", []), text]}
        self.info = write_info(self.folder / RUN_FILE, {**self.info.document, "resumed": [*earlier, last]})

    def update(self, **fields: Any) -> None:
        """Merges ``fields`` into run.json: mappings key by key (one level), other values replace.

        ``status="done"`` also stores the number of episodes and the SHA-256 of their log and of the other files, so
        that a later edit shows.

        Raises:
            UserError: run.json cannot be written, or another machine has taken over the folder; or, with ``done``, the
                episode log is not one that reports take, or not of the run's episodes.
            ValueError: a field that never changes, an unknown status, or ``done`` without episodes.
        """
        if wrong := sorted(_FIXED & fields.keys()):
            raise ValueError(f"these fields of {RUN_FILE} never change: {', '.join(wrong)}")
        if "status" in fields and fields["status"] not in get_args(Status):
            raise ValueError(f"status {fields['status']!r} is not one of {', '.join(get_args(Status))}")
        self._lock.check()
        info = dict(self.info.document)
        for key, value in plain(fields).items():
            old = info.get(key)
            info[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        if fields.get("status") == "done":
            info |= {"episodes": self._seal(), "files": self._files()}
        self.info = write_info(self.folder / RUN_FILE, info)

    def _seal(self) -> dict[str, Any]:
        """Number and SHA-256 of the episodes, once a report could read them."""
        path, settings = self.episodes_path, self.info.settings
        data = b""
        with writing(path), suppress(FileNotFoundError), path.open("r+b") as file:
            data = file.read()
            os.fsync(file.fileno())
        parse_lines(data, path, self._chain)
        classes = parse_counts(data, settings.way, set(settings.novel), path).classes
        if len(classes) == 0:
            raise ValueError(f"{path}: a finished run has episodes")
        table = self._table
        if table is not None and [tuple(row) for row in classes.tolist()] != list(table.classes):
            raise RecordError(
                f"{path}: these are not the {len(table)} episodes of the run; give the same command again"
            )
        return {"count": len(classes), "sha256": hashlib.sha256(data).hexdigest()}

    def _files(self) -> dict[str, str]:
        """The SHA-256 of what else a report shows."""
        panels = sorted(path for path in (self.folder / _PANELS).glob("*") if path.suffix in {".png", ".json"})
        logs = (self.train_path, self.folder / PREDICTIONS_FILE)
        found = [path for path in (*logs, *panels) if path.is_file()]
        try:
            return {p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        """Lets other processes write; a second call does nothing."""
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()


def _new(settings: RunSettings, request: RunRequest, folds: int, software: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "identity": settings.identity,
        "status": "new",
        "created": _now(),
        "settings": settings.to_json(),
        "folds": folds,
        "passed": request.given(),
        "lines": _CHECKED_LINES,
        "provenance": software,
        "timings": {},
        "diagnostics": {},
        "scores": {},
    }


def _resumed(info: RunInfo, software: Mapping[str, Any]) -> dict[str, Any]:
    """The content of run.json with a note of what is different in software and machine since the run began."""
    before = info.document["provenance"]
    # records of earlier versions do not say where they were begun
    left_out = _OWN_TO_EACH | ({"host", "device"} - before.keys())
    changed = differences(*({key: p[key] for key in p.keys() - left_out} for p in (before, software)))
    place = {key: software[key] for key in ("host", "process", "job", "device") if software.get(key) is not None}
    return {**info.document, "resumed": [*info.resumed, {"time": _now(), **place, "changed": changed}]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
