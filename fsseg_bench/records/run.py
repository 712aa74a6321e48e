"""One run's folder while it is written: identity, state, logs. Reading finished ones is in ``read.py``."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.files import (
    TEMPORARY,
    LineLog,
    plain,
    read_lines,
    sync_folder,
    write_atomic,
    write_error,
    write_json,
)
from fsseg_bench.records.identity import differences, identity_hash
from fsseg_bench.records.lock import LOCK_NAME, FolderLock
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.trained import CHECKPOINT_DIGEST

SCHEMA: Final = 1
"""Version of run.json's layout."""
RUN_FILE: Final = "run.json"
EPISODES_FILE: Final = "episodes.jsonl"
TABLE_FILE: Final = "episodes.csv"
"""Which images and classes each episode has; its SHA-256 is the ``episode_digest`` of the settings."""
TRAIN_FILE: Final = "train.jsonl"
PANELS_FILE: Final = "panels/panels.json"
"""A list with one object a picture: ``file`` (its name in ``panels/``) and what it shows."""

Status = Literal["new", "training", "evaluating", "done", "failed"]
"""``new``: nothing done yet; ``failed``: stopped by an error, can go on; ``done``: never written again."""

_FIXED = {"schema", "identity", "settings", "passed", "provenance", "created", "resumed", "episodes"}


def run_folder(root: Path, settings: Mapping[str, Any]) -> Path:
    """Where the run with ``settings`` belongs; nothing is made.

    ``<root>/<protocol>/<method>-<backbone>/<N>way-<K>shot/fold<i>-seed<s>-<first 8 digits of the identity>``; an
    evaluated checkpoint has ``checkpoint`` in place of its seed.
    """
    training = "checkpoint" if settings.get(CHECKPOINT_DIGEST) else f"seed{int(settings['seed'])}"
    return (
        root
        / _name(settings["protocol"])
        / _name(f"{settings['method']}-{settings['backbone']}")
        / f"{int(settings['way'])}way-{int(settings['shot'])}shot"
        / f"fold{int(settings['fold'])}-{training}-{identity_hash(settings)[:8]}"
    )


def _name(text: str) -> str:
    """``text`` as one folder name; the hash in the last folder keeps different names apart."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"


class RunRecord:
    """The record of one run, open for writing. Use it in a ``with`` statement or call :meth:`close`."""

    folder: Path
    """The run's folder."""
    info: dict[str, Any]
    """The content of run.json."""

    def __init__(self, folder: Path, info: dict[str, Any], lock: FolderLock) -> None:
        self.folder = folder
        self.info = info
        self._lock = lock

    @classmethod
    def create(
        cls, root: Path, settings: Mapping[str, Any], *, passed: Mapping[str, Any], fresh: bool = False
    ) -> RunRecord:
        """Makes the run's folder, or reopens it when it holds the same run.

        Args:
            root: the results folder.
            settings: everything that determines the run's numbers, JSON-able; its hash is the identity.
            passed: what the user gave explicitly.
            fresh: move an existing folder aside (to ``<name>.old-<n>``; nothing is deleted) and start anew.

        Raises:
            UserError: the folder holds another identity, an unreadable record or files of unknown origin;
                another process is writing there; the disk is full or the folder cannot be written.
        """
        settings = plain(settings)
        folder = run_folder(root, settings)
        lock = FolderLock(folder)
        try:
            if fresh and _content(folder):
                lock = _moved_aside(folder, lock)
            info = _existing(folder, settings)
            if info is None:
                info = _new(settings, plain(passed))
                write_json(folder / RUN_FILE, info)
            elif info["status"] != "done":
                info = _resumed(info)
                write_json(folder / RUN_FILE, info)
            for leftover in folder.glob(f".*{TEMPORARY}"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            lock.release()
            raise write_error(folder, error) from error
        except UserError:
            lock.release()
            raise
        return cls(folder, info, lock)

    @property
    def status(self) -> Status:
        """How far the run is."""
        status: Status = self.info["status"]
        return status

    @property
    def checkpoint(self) -> Path:
        """Where the training state belongs."""
        return self.folder / "checkpoint.pt"

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
        if table.digest != self.info["settings"]["episode_digest"]:
            raise ValueError(f"{self.folder}: the episode table is not that of the settings")
        write_atomic(self.folder / TABLE_FILE, table.text())

    def episode_log(self) -> LineLog:
        """The log of episodes, open for appending; close it before the run is done."""
        return LineLog(self.episodes_path)

    def train_log(self) -> LineLog:
        """The log of training, open for appending."""
        return LineLog(self.train_path)

    def update(self, **fields: Any) -> None:
        """Merges ``fields`` into run.json: mappings key by key (one level), other values replace.

        ``status="done"`` also stores the number of episodes and the SHA-256 of their log, so that a later
        edit shows.

        Raises:
            UserError: run.json cannot be written.
            ValueError: a field that never changes, an unknown status, or ``done`` without episodes.
        """
        if wrong := sorted(_FIXED & fields.keys()):
            raise ValueError(f"these fields of {RUN_FILE} never change: {', '.join(wrong)}")
        if "status" in fields and fields["status"] not in get_args(Status):
            raise ValueError(f"status {fields['status']!r} is not one of {', '.join(get_args(Status))}")
        info = dict(self.info)
        for key, value in plain(fields).items():
            old = info.get(key)
            info[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        if fields.get("status") == "done":
            info["episodes"] = _seal(self.episodes_path)
        write_json(self.folder / RUN_FILE, info)
        self.info = info

    def close(self) -> None:
        """Lets other processes write; a second call does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _content(folder: Path) -> list[Path]:
    """What the folder holds beside the lock."""
    return [path for path in folder.iterdir() if path.name != LOCK_NAME and path.suffix != TEMPORARY]


def _moved_aside(folder: Path, lock: FolderLock) -> FolderLock:
    """Renames the folder and locks an empty one in its place."""
    for n in itertools.count(1):
        aside = folder.with_name(f"{folder.name}.old-{n}")
        if not aside.exists():
            break
    folder.rename(aside)
    lock.release()
    fresh = FolderLock(folder)
    sync_folder(folder.parent)
    return fresh


def _existing(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of the folder's run.json when it is this run's; None in an empty folder."""
    path = folder / RUN_FILE
    advice = "Nothing was changed. --fresh moves that folder aside and starts anew"
    if not path.exists():
        if _content(folder):
            raise UserError(f"{folder}: holds files but no {RUN_FILE}. {advice}")
        return None
    try:
        info = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}). {advice}") from None
    if not isinstance(info, dict) or info.get("schema") != SCHEMA or info.get("status") not in get_args(Status):
        raise UserError(f"{path}: not a record of this version of fsseg-bench (schema {SCHEMA}). {advice}")
    wanted, found = identity_hash(settings), info.get("identity")
    stored = info.get("settings")
    if found != wanted or not isinstance(stored, dict) or identity_hash(stored) != wanted:
        changes = differences(stored if isinstance(stored, dict) else {}, settings)
        listing = "; ".join(changes) or "the identity alone"
        raise UserError(
            f"{folder}: holds another run. Its identity is {found}, this run's is {wanted}. "
            f"What differs (there / here): {listing}. {advice}"
        )
    return info


def _new(settings: Mapping[str, Any], passed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "identity": identity_hash(settings),
        "status": "new",
        "created": _now(),
        "settings": settings,
        "passed": passed,
        "provenance": plain(provenance()),
        "timings": {},
        "diagnostics": {},
        "scores": {},
    }


def _resumed(info: dict[str, Any]) -> dict[str, Any]:
    """``info`` with a note of what is different in software and machine since the run began."""
    changed = differences(info.get("provenance", {}), provenance())
    return {**info, "resumed": [*info.get("resumed", []), {"time": _now(), "changed": changed}]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seal(path: Path) -> dict[str, Any]:
    rows = len(read_lines(path))
    if rows == 0:
        raise ValueError(f"{path}: a finished run has episodes")
    try:
        with path.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from error
    return {"count": rows, "sha256": digest}
