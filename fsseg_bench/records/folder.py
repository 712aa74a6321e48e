"""The folder of a run: its name, what it holds already, and the same name for a new one."""

from __future__ import annotations

import re
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.records.info import RUN_FILE, RecordError, RunInfo, read_info
from fsseg_bench.records.settings import RunSettings, differences
from fsseg_bench.storage.files import TEMPORARY, free_aside, sync_folder
from fsseg_bench.storage.lock import LOCK_NAME, FolderLock

_ADVICE = "Nothing was changed. --fresh moves that folder aside and starts anew"


def run_folder(root: Path, settings: RunSettings) -> Path:
    """Where the run with ``settings`` belongs; nothing is made.

    ``<root>/<protocol>/<method>-<backbone>/<N>way-<K>shot/fold<i>-seed<s>-<first 8 digits of the identity>``; an
    evaluated checkpoint has ``checkpoint`` in place of its seed.
    """
    training = "checkpoint" if settings.checkpoint_digest else f"seed{settings.seed}"
    return (
        root
        / _name(settings.protocol)
        / _name(f"{settings.method}-{settings.backbone}")
        / f"{settings.way}way-{settings.shot}shot"
        / f"fold{settings.fold}-{training}-{settings.identity[:8]}"
    )


def _name(text: str) -> str:
    """``text`` as one folder name; the hash in the last folder keeps different names apart."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"


def is_empty(folder: Path) -> bool:
    """Whether the folder holds nothing but a lock and unfinished files."""
    return all(path.name == LOCK_NAME or path.suffix == TEMPORARY for path in folder.iterdir())


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
