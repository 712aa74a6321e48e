"""Whose a record is, where it came in a pack: a note that ``unpack`` leaves beside run.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fsseg_bench.records.info import (
    EPISODES_FILE,
    EVALUATED_FILE,
    RUN_FILE,
    TABLE_FILE,
    TRAIN_FILE,
    RecordError,
    read_json,
)
from fsseg_bench.schema import parse
from fsseg_bench.storage.json_text import write_json

PACK_FILE: Final = "pack.json"
ALWAYS_PACKED: Final = (RUN_FILE, EPISODES_FILE, TABLE_FILE, EVALUATED_FILE, TRAIN_FILE)
"""What every pack holds of a record that has it: who says that it was left out hides something."""


@dataclass(frozen=True)
class Owner:
    """Where a record came from."""

    by: str | None = None
    """Whose it is, as they say."""
    file: str | None = None
    """The pack's name without its ending."""
    digest: str | None = None
    """Of the pack."""
    left_out: tuple[str, ...] = ()
    """Files that run.json seals and that the pack did not hold."""

    @property
    def name(self) -> str:
        """Whose it is, in short; of a pack that does not say so, its file and digest, which no name is taken for."""
        return self.by or f"{self.file or 'a pack'} ({(self.digest or 'unknown')[:8]})"

    def left(self, name: str) -> bool:
        """Whether a file that the record seals may be missing, since the pack left it out."""
        return name in self.left_out and name not in ALWAYS_PACKED


def owner_of(folder: Path) -> Owner | None:
    """What the note in a record's folder says; None where there is none: the record was made here.

    Raises:
        RecordError: the note cannot be read.
    """
    path = folder / PACK_FILE
    found = read_json(path, optional=True)
    return None if found is None else parse(Owner, found, path, error=RecordError)


def note_owner(folder: Path, owner: Owner) -> None:
    """Writes the note.

    Raises:
        UserError: it cannot be written.
    """
    write_json(folder / PACK_FILE, vars(owner))
