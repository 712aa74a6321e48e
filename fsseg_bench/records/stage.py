"""The folder of one stage: a network that is trained before methods, shared by all that ask for the same training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

from fsseg_bench.errors import LockedError
from fsseg_bench.records.info import (
    CHECKPOINT_FILE,
    STAGE_FILE,
    STAGES_FOLDER,
    TRAIN_FILE,
    RecordError,
    folder_name,
    read_json,
    sealed,
)
from fsseg_bench.records.lines import Chain, Inspect, LineLog, Row, read_lines
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.settings import identity_hash
from fsseg_bench.records.training import loss_row
from fsseg_bench.storage.files import remove_leftovers, writing
from fsseg_bench.storage.json_text import write_json
from fsseg_bench.storage.lock import FolderLock

_SCHEMA: Final = 1
_POLL = 2.0  # seconds between two looks at a lock that another process holds

StageStatus = Literal["new", "training", "done"]


@dataclass(frozen=True)
class StageKey:
    """Which training it is, and where its folder is."""

    name: str
    """Of the stage in the method that asks; no part of the identity."""
    settings: Mapping[str, Any]
    """What determines the network, in JSON's types: ``protocol``, ``fold``, ``network``, ``backbone``, ``seed`` and
    all else. Not the method, its shots or its episodes."""

    @property
    def identity(self) -> str:
        """SHA-256 (64 hex digits) of the settings."""
        return identity_hash(self.settings)

    def folder(self, root: Path) -> Path:
        """``<root>/stages/<protocol>/<network>-<backbone>/fold<i>-seed<s>-<first 8 digits of the identity>``."""
        found = self.settings
        return (
            root
            / STAGES_FOLDER
            / folder_name(found["protocol"])
            / folder_name(f"{str(found['network']).rpartition('.')[2].lstrip('_')}-{found['backbone']}")
            / f"fold{found['fold']}-seed{found['seed']}-{self.identity[:8]}"
        )


def read_stage(folder: Path, key: StageKey) -> dict[str, Any] | None:
    """What the folder says of its training; None where nothing is there yet.

    Raises:
        RecordError: the file is damaged, edited, or another training's.
    """
    path = folder / STAGE_FILE
    found = read_json(path, optional=True, advice=_advice(folder))
    if found is None:
        return None
    if not isinstance(found, dict) or found.get("schema") != _SCHEMA or sealed(found) != found:
        raise RecordError(f"{path}: edited or damaged: it has not the SHA-256 it states; {_advice(folder)}")
    if found.get("identity") != key.identity:
        raise RecordError(f"{path}: holds another training than {key.identity}; {_advice(folder)}")
    return found


def is_trained(document: dict[str, Any] | None, folder: Path) -> TypeGuard[dict[str, Any]]:
    """Whether the network of a stage is trained, and still in ``folder``, which says ``document`` of it."""
    return document is not None and document["status"] == "done" and (folder / CHECKPOINT_FILE).exists()


def _advice(folder: Path) -> str:
    return f"move {folder} elsewhere, and the network is trained anew"


@dataclass(eq=False)
class StageRecord(AbstractContextManager["StageRecord"]):
    """The folder of a stage, open for writing."""

    folder: Path
    identity: str
    document: dict[str, Any]
    """The content of ``stage.json``."""
    _lock: FolderLock

    @classmethod
    def open(cls, root: Path, key: StageKey, say: Callable[[str], None]) -> StageRecord:
        """The folder, made where it is missing; waits while another process trains there, which ``say`` is told.

        Raises:
            RecordError: it holds something else.
            UserError: it cannot be written.
        """
        folder = key.folder(root)
        lock = _taken(folder, key, say)
        try:
            with writing(folder):
                remove_leftovers(folder)
            document = read_stage(folder, key)
            if document is None:
                document = {
                    "schema": _SCHEMA,
                    "identity": key.identity,
                    "status": "new",
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "settings": dict(key.settings),
                    "provenance": provenance(),
                    "timings": {"train_seconds": 0.0},
                    "mended": [],
                }
        except BaseException:
            lock.release()
            raise
        return cls(folder, key.identity, document, lock)

    @property
    def checkpoint(self) -> Path:
        """Where the training state belongs."""
        return self.folder / CHECKPOINT_FILE

    def train_log(self, inspect: Inspect | None = None, until: Callable[[Row], bool] | None = None) -> LineLog:
        """The log of training, as a run's."""
        chain = Chain(self.identity, required=True)
        return LineLog(self.folder / TRAIN_FILE, chain, inspect=inspect, until=until, guard=self._lock.check)

    def training_rows(self) -> list[Row]:
        """The rows of the log.

        Raises:
            LinesError: one is damaged.
        """
        return read_lines(self.folder / TRAIN_FILE, Chain(self.identity, required=True), loss_row)

    def note(self, text: str) -> None:
        """Keeps what was found damaged and mended.

        Raises:
            UserError: it cannot be written.
        """
        self.update(mended=[*self.document["mended"], text])

    def update(self, **fields: Any) -> None:
        """Replaces fields of ``stage.json``.

        Raises:
            UserError: it cannot be written, or another machine has taken over the folder.
        """
        self._lock.check()
        self.document = sealed({**self.document, **fields})
        write_json(self.folder / STAGE_FILE, self.document)

    def close(self) -> None:
        """Lets other processes write; a second call does nothing."""
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()


def _taken(folder: Path, key: StageKey, say: Callable[[str], None]) -> FolderLock:
    told = False
    while True:
        try:
            return FolderLock(folder, f"training stage {key.name}", "this run waits for it")
        except LockedError as error:
            if not told:
                say(str(error))
                told = True
            time.sleep(_POLL)
