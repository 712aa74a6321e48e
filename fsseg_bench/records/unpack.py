"""Reading packs that others made: nothing is written elsewhere or is larger than stated; damaged ones are refused."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.records.owner import ALWAYS_PACKED, Owner, note_owner
from fsseg_bench.records.pack import FORMAT, MANIFEST, TAKEN, VERSION, Manifest, is_folder
from fsseg_bench.schema import parse
from fsseg_bench.storage.files import writing
from fsseg_bench.storage.json_text import strict_json

MOST_FILES = 20_000
LARGEST_MANIFEST = 16 * 2**20
LARGEST_FILE = 512 * 2**20
LARGEST_PACK = 4 * 2**30
"""Bytes, unpacked."""
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


class PackError(UserError):
    """A pack that cannot be used; the message names it and says why."""


class Unpacked(NamedTuple):
    """What a pack holds, once it is unpacked."""

    manifest: Manifest
    digest: str
    """SHA-256 of the manifest."""
    folders: tuple[Path, ...]
    """Of the records, in the order of the manifest."""


def is_pack(path: Path) -> bool:
    """Whether a file looks like a zip, by its first bytes; of no file False."""
    try:
        with regular(path).open("rb") as file:
            return file.read(2) == b"PK"
    except (OSError, UserError):
        return False


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """A pack's manifest and its digest; the files themselves are not looked at.

    Raises:
        PackError: no pack, or one that is damaged or states what no pack holds.
    """
    with _opened(path) as archive:
        return _manifest(path, archive)


def unpack(path: Path, out: Path) -> Unpacked:
    """Writes a pack's records below ``out``, each with a note of whose it is; all of them, or none where it is damaged.

    Raises:
        PackError: as :func:`read_manifest`; a file is not what the manifest states.
        UserError: a record is there already, or cannot be written.
    """
    with _opened(path) as archive:
        manifest, digest = _manifest(path, archive)
        targets = [out / record.folder for record in manifest.records]
        if there := [target for target in targets if target.exists()]:
            raise UserError(f"{there[0]}: is there already; nothing was unpacked. Name another folder with --out")
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=out, prefix=".unpack-"))
        try:
            _write(path, archive, manifest, work)
            for record, target in zip(manifest.records, targets, strict=True):
                note_owner(work / record.folder, Owner(record.by, path.name.partition(".")[0], digest, record.left_out))
                with writing(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (work / record.folder).rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Unpacked(manifest, digest, tuple(targets))


def _write(path: Path, archive: zipfile.ZipFile, manifest: Manifest, work: Path) -> None:
    for stated in manifest.files:
        data = archive.read(stated.name)
        if len(data) != stated.size or hashlib.sha256(data).hexdigest() != stated.sha256:
            raise PackError(f"{path}: damaged: {stated.name} is not what {MANIFEST} states")
        with writing(work / stated.name):
            (work / stated.name).parent.mkdir(parents=True, exist_ok=True)
            (work / stated.name).write_bytes(data)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            yield archive
    except UserError:
        raise
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise PackError(f"{path}: not a pack, or damaged: {error}") from error


def _manifest(path: Path, archive: zipfile.ZipFile) -> tuple[Manifest, str]:
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST or entries[0].file_size > LARGEST_MANIFEST:
        raise PackError(f"{path}: not a pack: it does not begin with {MANIFEST}")
    if wrong := [entry.filename for entry in entries if not _plain(entry)]:
        raise PackError(f"{path}: refused: {wrong[0]!r} is no plain file of a pack")
    text = archive.read(MANIFEST)
    try:
        manifest = parse(Manifest, strict_json(text), f"{path}: {MANIFEST}", error=PackError)
    except ValueError as error:
        raise PackError(f"{path}: {MANIFEST} is no JSON: {error}") from None
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise PackError(f"{path}: {manifest.format!r} of version {manifest.version}; this program reads {VERSION}")
    digest = hashlib.sha256(text).hexdigest()
    if archive.comment != f"sha256:{digest}".encode():
        raise PackError(f"{path}: damaged: {MANIFEST} does not have the SHA-256 that the file states")
    _check(path, manifest, entries)
    return manifest, digest


def _plain(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is an unencrypted file, and no link or folder."""
    mode = entry.external_attr >> 16
    regular_file = stat.S_ISREG(mode) or not stat.S_IFMT(mode)
    return regular_file and not entry.is_dir() and not entry.flag_bits & 1 and entry.compress_type in _METHODS


def _check(path: Path, manifest: Manifest, entries: list[zipfile.ZipInfo]) -> None:
    """Raises PackError where names, sizes or records are not those of a pack."""
    names, folders = [file.name for file in manifest.files], [record.folder for record in manifest.records]
    if len(names) > MOST_FILES:
        raise PackError(f"{path}: refused: {len(names):,} files, and {MOST_FILES:,} are the most")
    sizes = {file.name: file.size for file in manifest.files}
    if any(not 0 <= size <= LARGEST_FILE for size in sizes.values()) or sum(sizes.values()) > LARGEST_PACK:
        raise PackError(f"{path}: refused: a file has over {LARGEST_FILE:,} bytes, or all have over {LARGEST_PACK:,}")
    if not folders:
        raise PackError(f"{path}: refused: it holds no record")
    for record in manifest.records:
        if not is_folder(record.folder):
            raise PackError(f"{path}: refused: {record.folder!r} is no folder of a record")
        if hidden := sorted(set(record.left_out) & set(ALWAYS_PACKED)):
            raise PackError(f"{path}: refused: {record.folder} leaves out {hidden[0]}, which every pack holds")
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in folders or file not in TAKEN:
            raise PackError(f"{path}: refused: {name!r} is no file of its records")
    # one folder within another, or two spellings of one name, would let records overwrite each other
    inside = [one for one in folders for other in folders if one != other and f"{one}/".startswith(f"{other}/")]
    if len({name.lower() for name in names}) < len(names) or len(set(folders)) < len(folders) or inside:
        raise PackError(f"{path}: refused: a name is there twice")
    if missing := [folder for folder in folders if f"{folder}/{RUN_FILE}" not in sizes]:
        raise PackError(f"{path}: {missing[0]} has no {RUN_FILE}")
    if names != sorted(names) or [entry.filename for entry in entries] != [MANIFEST, *names]:
        raise PackError(f"{path}: damaged: it does not hold exactly the files that {MANIFEST} states, in order")
    if wrong := [entry.filename for entry in entries[1:] if entry.file_size != sizes[entry.filename]]:
        raise PackError(f"{path}: damaged: {wrong[0]} has another size than {MANIFEST} states")
