"""Records in one file that others can check: which files it holds, in canonical order and bytes, and whose they are.

A pack is a zip: ``manifest.json``, then the records' files sorted by name, all with one date and one mode. Its digest
is the SHA-256 of the manifest, which states the SHA-256 of each file; the zip's comment repeats it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.controls import CONTROLS_FILE, find_controls
from fsseg_bench.records.info import PREDICTIONS_FILE, RUN_FILE, RecordError, run_folder, sealed
from fsseg_bench.records.owner import ALWAYS_PACKED, Owner, owner_of
from fsseg_bench.records.privacy import without_machine
from fsseg_bench.records.read import StoredRun
from fsseg_bench.storage.files import write_atomic

FORMAT: Final = "fsseg-bench pack"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
TAKEN: Final = (*ALWAYS_PACKED, CONTROLS_FILE, PREDICTIONS_FILE)
"""What a pack may hold of a record; controls once they are complete, predictions on request."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can state
_MODE = 0o100644 << 16
_ONE_LINE = re.compile(r"(?=.*\w)[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{1,100}")
"""Something to read, and neither control characters nor those that turn the direction of text."""


@dataclass(frozen=True)
class PackedFile:
    """A file in a pack."""

    name: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class PackedRecord:
    """A record in a pack."""

    folder: str
    """Where its files are, as its settings say."""
    identity: str
    left_out: tuple[str, ...] = ()
    """Files that its run.json seals and the pack does not hold."""
    by: str | None = None
    """Whose it is, in their words; None: the pack's name says it."""

    def __post_init__(self) -> None:
        """Raises ValueError for an owner that is not one short line."""
        if self.by is not None and not _ONE_LINE.fullmatch(self.by):
            raise ValueError(f"{self.by!r} is no name in one line of at most 100 characters")


@dataclass(frozen=True)
class Manifest:
    """What a pack says of itself."""

    format: str
    version: int
    private: bool
    """Whether paths and the names of machines were left out."""
    records: tuple[PackedRecord, ...]
    files: tuple[PackedFile, ...]

    def text(self) -> bytes:
        """The same for equal content."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()


def write_pack(
    runs: Sequence[StoredRun], path: Path, *, by: str | None = None, predictions: bool = False, private: bool = False
) -> tuple[Manifest, str]:
    """Writes finished records into ``path``; the manifest and its digest. Equal records give equal bytes.

    The compressed bytes are zlib's: another version of it may give others, with the same digest.

    Args:
        runs: what to take; what came in a pack keeps its owner.
        path: the file, which is replaced.
        by: whose they are, in a line.
        predictions: whether what was predicted is taken along.
        private: whether paths and the names of machines are taken out of run.json, which is then sealed anew.

    Raises:
        UserError: no run, one that is not done or damaged, two of one identity, ``by`` is no line; or the file cannot
            be written.
    """
    if by is not None and not _ONE_LINE.fullmatch(by):
        raise UserError(f"--by {by!r}: give a name in one line, of at most 100 characters")
    if not runs:
        raise UserError("nothing to pack: none of the runs is done")
    taken: dict[str, bytes] = {}
    records: dict[str, PackedRecord] = {}
    for run in runs:
        record, files = _packed(run, by, predictions=predictions, private=private)
        if (twin := records.get(record.folder)) is not None:
            raise UserError(f"{run.folder}: another of the records is the same run ({twin.folder}); give one of them")
        records[record.folder] = record
        taken |= files
    names = sorted(taken)
    stated = tuple(PackedFile(name, len(taken[name]), hashlib.sha256(taken[name]).hexdigest()) for name in names)
    manifest = Manifest(FORMAT, VERSION, private, tuple(records[name] for name in sorted(records)), stated)
    text = manifest.text()
    digest = hashlib.sha256(text).hexdigest()
    write_atomic(path, _zip({MANIFEST: text, **{name: taken[name] for name in names}}, digest))
    return manifest, digest


def is_folder(name: str) -> bool:
    """Whether a record in a pack may lie there: plain names, none of them hidden or over 201 characters."""
    return all(_PART.fullmatch(part) for part in name.split("/"))


def _packed(
    run: StoredRun, by: str | None, *, predictions: bool, private: bool
) -> tuple[PackedRecord, dict[str, bytes]]:
    """A record as the manifest states it, and its files by their names in the pack."""
    if run.status != "done":
        raise UserError(f"{run.folder}: the run is not done (status {run.status}); only finished ones are packed")
    owner = owner_of(run.folder) or Owner()
    folder = run_folder(Path(), run.info.settings).as_posix()
    if not is_folder(folder):
        raise UserError(
            f"{run.folder}: cannot be packed: its folder in a pack would be {folder!r}, and names there have at most "
            "201 characters and begin with a letter, a digit or '_'; run it again under shorter names"
        )
    content = {}
    for name in TAKEN:
        if (name == PREDICTIONS_FILE and not predictions) or (name == CONTROLS_FILE and find_controls(run) is None):
            continue
        try:
            content[name] = regular(run.folder / name).read_bytes()
        except FileNotFoundError:
            if name in ALWAYS_PACKED and name in run.info.files:
                raise RecordError(f"{run.folder / name}: is missing since the run was done; not packed") from None
            continue
        except OSError as error:
            raise RecordError(f"{run.folder / name}: cannot be read: {error.strerror or error}") from error
    if private:
        document = sealed(without_machine(json.loads(content[RUN_FILE])))
        content[RUN_FILE] = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    left_out = tuple(sorted((run.info.files.keys() | set(owner.left_out)) - content.keys()))
    record = PackedRecord(folder, run.info.identity, left_out, owner.by or owner.file or by)
    return record, {f"{folder}/{name}": data for name, data in content.items()}


def _zip(files: Mapping[str, bytes], digest: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr, entry.compress_type = 3, _MODE, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compresslevel=9)
        archive.comment = f"sha256:{digest}".encode()
    return buffer.getvalue()
