"""A run's folder and its run.json: written with a check over all of it, and parsed before anything uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.provenance import Provenance
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import CheckpointTraining, RunSettings, differences, read_hash
from fsseg_bench.records.training import LossSummary
from fsseg_bench.schema import Range, parse
from fsseg_bench.storage.files import TEMPORARY, free_aside, sync_folder
from fsseg_bench.storage.json_text import plain, strict_json, write_json
from fsseg_bench.storage.lock import FolderLock
from fsseg_bench.storage.lock_note import is_lock

SCHEMA: Final = 2
"""Version of run.json's layout; :func:`upgraded` reads the one before."""
GENERALISED_FILE: Final = "generalised.json"
RUN_FILE: Final = "run.json"
EPISODES_FILE: Final = "episodes.jsonl"
PREDICTIONS_FILE: Final = "predictions.jsonl"
"""What was predicted in each episode; records of earlier versions have none."""
TABLE_FILE: Final = "episodes.csv"
"""Which images and classes each episode has; its SHA-256 is the ``episode_digest`` of the settings."""
EVALUATED_FILE: Final = "evaluated.csv"
"""What each test image and its labels hold; its SHA-256 is the ``evaluated_digest`` of the settings."""
TRAIN_FILE: Final = "train.jsonl"
CHECKPOINT_FILE: Final = "checkpoint.pt"
STAGE_FILE: Final = "stage.json"
"""Of a training that comes before methods, beside its log and its checkpoint."""
STAGES_FOLDER: Final = "stages"
"""Of such trainings, beside the folders of the protocols."""
PANELS_FILE: Final = "panels/panels.json"
"""A list with one object a picture: ``file`` (its name in ``panels/``) and what it shows."""
FOLDS_BEFORE: Final = 4
"""How many folds the protocols of schema 1 had."""
CHECK: Final = "check"
"""SHA-256 of everything else in run.json."""

Status = Literal["new", "training", "evaluating", "done", "failed"]
"""``new``: nothing done yet; ``failed``: stopped by an error, can go on; ``done``: never written again."""


class RecordError(UserError):
    """A record that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Timings:
    """Seconds spent and things done, over all sessions of a run; the record holds more of them."""

    train_seconds: int | float = 0
    evaluate_seconds: int | float = 0
    evaluate_encode_seconds: int | float = 0
    evaluate_predict_seconds: int | float = 0
    evaluate_count_seconds: int | float = 0
    evaluate_episodes: int | float = 0
    evaluate_encoded_images: int | float = 0
    head_batch: Annotated[int, Range(least=1)] | None = None
    """Episodes that went through the head together on a GPU, in the end; a CPU takes one after the other."""
    finished: str | None = None

    def added(self, **spent: float) -> dict[str, float]:
        """What a session spent on top of earlier ones, by name."""
        return {name: getattr(self, name) + value for name, value in spent.items()}


@dataclass(frozen=True)
class Seal:
    """The episode log of a finished run."""

    count: int
    """Episodes."""
    sha256: str


@dataclass(frozen=True)
class RunInfo:
    """What run.json says."""

    identity: str
    status: Status
    settings: RunSettings
    folds: Annotated[int, Range(least=1, most=1000)]
    """How many the protocol has."""
    passed: RunRequest
    """What was asked for, as far as it was given explicitly."""
    provenance: Provenance
    timings: Timings
    diagnostics: Mapping[str, Any]
    """What the method recorded, each the mean over the episodes."""
    lines: str
    """``checked`` where every line of the logs has a check."""
    scores: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """For people alone: every reader computes them from the counts."""
    created: str | None = None
    weights: Mapping[str, Any] | None = None
    """What the backbone was filled with."""
    seen: Mapping[str, str] | None = None
    """What the numbers are made of, by field of :class:`fsseg_bench.seen.Seen`; not in records of earlier versions."""
    trained: CheckpointTraining | None = None
    """Where a checkpoint was evaluated."""
    remarks: tuple[str, ...] = ()
    """What was left out of the data, or read otherwise than as it is written."""
    device: str | None = None
    reason: str | None = None
    """Why the run failed."""
    training: LossSummary | None = None
    resumed: tuple[Mapping[str, Any], ...] = ()
    """Of each later session its ``time``, what had ``changed`` in software and machine, and what was ``mended``."""
    episodes: Seal | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of other files of a finished run, by path in its folder."""
    document: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """The whole of it in JSON's types."""

    def __post_init__(self) -> None:
        """Raises ValueError for a fold that the protocol does not have."""
        if self.settings.fold > self.folds:
            raise ValueError(f"settings.fold is {self.settings.fold} of {self.folds}; there is no such fold")

    @property
    def cpu_threads(self) -> int | None:
        """That computed when the run was begun; None where a GPU did, or where nobody knows."""
        device = self.provenance.device or self.device or ""  # of earlier records that of the last session
        return self.provenance.threads if device.startswith("cpu") else None

    @property
    def devices(self) -> tuple[str, ...]:
        """The models of device that it was made on, the first one first; of earlier records none."""
        found = [self.provenance.device, *(entry.get("device") for entry in self.resumed)]
        return tuple(dict.fromkeys(str(device) for device in found if device))

    def as_training(self, checkpoint: Path) -> CheckpointTraining:
        """What the record of an evaluation keeps of this run, whose folder holds ``checkpoint``."""
        folder, stored = str(checkpoint.parent), self.document["settings"]
        return CheckpointTraining(checkpoint.name, folder, self.identity, self.settings, stored)


_OPEN = (RunInfo, RunRequest, Provenance, Timings, Seal, LossSummary, CheckpointTraining)
"""Tables that may hold more than is read here; of the settings every key counts."""
_AUGMENT = {"canet": "enlarged-crop-supports", "canet-both": "enlarged-crop"}
_ADVICE = "Nothing was changed. --fresh moves that folder aside and starts anew"
_NAMED_ANEW = {"settings", "recipe", "trained"}


def read_info(path: Path) -> RunInfo:
    """The content of a run.json.

    Raises:
        RecordError: it cannot be read, is truncated, edited, of an unknown schema or status, or a value has a type or
            range that it cannot have; names it and what is wrong.
    """
    return parse_info(read_json(path), path)


def read_json(path: Path, *, optional: bool = False, advice: str = "") -> Any:
    """What a JSON file of a record holds; None where an ``optional`` one is not there.

    Raises:
        RecordError: it cannot be read, or is no strict JSON; names it, what is wrong, and ``advice``.
    """
    try:
        return strict_json(regular(path).read_bytes())
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError):
            return None
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON, truncated or edited: {error}{advice and '; '}{advice}") from None


def parse_info(info: Any, path: Path) -> RunInfo:
    """As :func:`read_info`, from what the file holds."""
    if not isinstance(info, dict) or type(info.get("schema")) is not int or not 1 <= info["schema"] <= SCHEMA:
        raise RecordError(f"{path}: not a record of schema {SCHEMA} or of an earlier one")
    document = upgraded(info)
    found = parse(RunInfo, _renamed(document), path, error=RecordError, others=_OPEN)
    if read_hash(document["settings"]) != found.identity:
        raise RecordError(f"{path}: edited: its settings do not have the identity it states")
    if (CHECK in info or info["schema"] == SCHEMA) and info.get(CHECK) != read_hash(_but_check(info)):
        raise RecordError(f"{path}: edited or damaged: its content does not have the SHA-256 it states")
    training = document.get("trained") or {}
    if training.get("settings") and read_hash(training["settings"]) != training.get("identity"):
        raise RecordError(
            f"{path}: edited: the settings of the checkpoint's training do not have the identity it states"
        )
    object.__setattr__(found, "document", document)
    return found


def upgraded(info: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.json of schema 1 as schema 2 has it; of schema 2 as it is.

    Schema 1 obliged a record to little, and early versions say less. The settings stay as they are, since the identity
    is their hash; whoever reads them finds the names of today.
    """
    if info["schema"] == SCHEMA:
        return dict(info)
    lacking: dict[str, Any] = {"folds": FOLDS_BEFORE, "lines": "unchecked"}
    lacking |= {"passed": {}, "provenance": {}, "timings": {}, "diagnostics": {}}
    return (
        lacking | {key: value for key, value in info.items() if (key, value) != ("training", {})} | {"schema": SCHEMA}
    )


def _renamed(table: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which settings have the names of today, those of a checkpoint's training too."""
    found = {
        key: _renamed(value) if key in _NAMED_ANEW and isinstance(value, Mapping) else value
        for key, value in table.items()
    }
    if isinstance(augment := found.get("augment"), str):
        found["augment"] = _AUGMENT.get(augment, augment)
    return found


def sealed(info: Mapping[str, Any]) -> dict[str, Any]:
    """``info`` in JSON's types, with its check."""
    content = _but_check(plain(info))
    return content | {CHECK: read_hash(content)}


def _but_check(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key != CHECK}


def write_info(path: Path, info: Mapping[str, Any]) -> RunInfo:
    """Replaces run.json by ``info`` with its check; returns what was written.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    content = sealed(info)
    found = parse_info(content, path)
    write_json(path, content)
    return found


def run_folder(root: Path, settings: RunSettings) -> Path:
    """Where the run with ``settings`` belongs; nothing is made.

    ``<root>/<protocol>/<method>-<backbone>/<N>way-<K>shot/fold<i>-seed<s>-<first 8 digits of the identity>``; an
    evaluated checkpoint has ``checkpoint`` in place of its seed.
    """
    training = "checkpoint" if settings.checkpoint_digest else f"seed{settings.seed}"
    return (
        root
        / folder_name(settings.protocol)
        / folder_name(f"{settings.method}-{settings.backbone}")
        / f"{settings.way}way-{settings.shot}shot"
        / f"fold{settings.fold}-{training}-{settings.identity[:8]}"
    )


def folder_name(text: str) -> str:
    """``text`` as one folder name; the hash in the last folder keeps different names apart."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"


def is_empty(folder: Path) -> bool:
    """Whether the folder holds nothing but locks and unfinished files."""
    return all(is_lock(path.name) or path.suffix == TEMPORARY for path in folder.iterdir())


def moved_aside(folder: Path, lock: FolderLock) -> FolderLock:
    """Renames the folder to ``<name>.old-<n>`` and locks an empty one in its place."""
    folder.rename(free_aside(folder))
    lock.release()
    fresh = FolderLock(folder)
    sync_folder(folder.parent)
    return fresh


def existing_info(folder: Path, settings: RunSettings) -> RunInfo | None:
    """The content of the folder's run.json; None in an empty folder.

    Raises:
        UserError: it holds another run, an unreadable record or files of unknown origin.
    """
    path = folder / RUN_FILE
    if not path.exists():
        if not is_empty(folder):
            raise UserError(f"{folder}: holds files but no {RUN_FILE}. {_ADVICE}")
        return None
    try:
        info = read_info(path)
    except RecordError as error:
        raise UserError(f"{error}. {_ADVICE}") from None
    if info.identity != settings.identity:
        listing = "; ".join(differences(info.document["settings"], settings.to_json())) or "the identity alone"
        raise UserError(
            f"{folder}: holds another run. Its identity is {info.identity}, this run's is {settings.identity}. "
            f"What differs (there / here): {listing}. {_ADVICE}"
        )
    return info
