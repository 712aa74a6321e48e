"""What a preparation records: the files of each finished part with their CRC-32, and the fingerprint of the whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.storage.files import make_folder, write_atomic
from fsseg_bench.storage.json_text import write_json

FOLDER = ".prepared"
"""Folder under the data root that holds the records."""
_CHUNK = 1 << 20

T = TypeVar("T")


class Content(NamedTuple):
    """What a file holds."""

    size: int
    crc: int


@dataclass(frozen=True)
class Manifest:
    """The files of one part."""

    part: str
    origin: str
    """The archive with its checksum, or what else the files were taken from."""
    files: Mapping[str, Content]
    """Path relative to the data root, with ``/``, to its content."""
    notes: tuple[str, ...] = ()
    """What was said when they were made."""

    def write(self, root: Path) -> None:
        """Puts the record under ``root``, or raises as :func:`write_atomic`; then the part counts as finished."""
        facts = {"part": self.part, "origin": self.origin, "files": len(self.files)}
        head = json.dumps({**facts, "notes": self.notes} if self.notes else facts)
        lines = [f"{c.crc:08x} {c.size} {path}" for path, c in sorted(self.files.items())]
        path = _path(root, self.part)
        make_folder(path.parent)
        write_atomic(path, "\n".join([head, *lines]) + "\n")

    def changed(self, root: Path) -> Iterator[tuple[Path, str]]:
        """Files that are missing or have another size, with what is wrong."""
        for name, content in self.files.items():
            path = root / name
            try:
                size = path.stat().st_size
            except OSError as error:
                yield path, f"is missing ({error.strerror})"
                continue
            if size != content.size:
                yield path, f"has {size:,} bytes; it had {content.size:,} when it was prepared"


def read_manifest(root: Path, part: str) -> Manifest | None:
    """The record of a part; None when the part was not finished under ``root``.

    Raises:
        UserError: the record is damaged or cannot be read.
    """

    def parsed(text: str) -> Manifest:
        head, *lines = text.splitlines()
        facts = json.loads(head)
        rows = [line.split(" ", 2) for line in lines]
        files = {name: Content(int(size), int(crc, 16)) for crc, size, name in rows}
        if len(files) != facts["files"]:
            raise ValueError(f"{len(files)} files in place of {facts['files']}")
        return Manifest(part, str(facts["origin"]), files, tuple(map(str, facts.get("notes", ()))))

    return _read(_path(root, part), parsed)


@dataclass(frozen=True)
class Record:
    """What a preparation ended with."""

    dataset: str
    fingerprint: str
    """Of the pair index: lists, image sizes and labels."""
    subset: bool
    """Whether less than the whole data set was asked for."""
    images: Mapping[str, int]
    """List name to its number of images."""
    said: tuple[str, ...] = ()
    """What is told beside them, and not written: counts next to published ones, what was left out."""

    def write(self, root: Path) -> None:
        """Puts the record under the data root, or raises as :func:`write_json`."""
        facts = {"fingerprint": self.fingerprint, "subset": self.subset, "images": dict(self.images)}
        write_json(root / FOLDER / f"{self.dataset}.json", facts)


def read_record(root: Path, dataset: str) -> Record | None:
    """The record of a data set; None when it was not prepared under ``root``.

    Raises:
        UserError: the record is damaged or cannot be read.
    """

    def parsed(text: str) -> Record:
        facts: dict[str, Any] = json.loads(text)
        images = {str(name): int(count) for name, count in facts["images"].items()}
        return Record(dataset, str(facts["fingerprint"]), bool(facts["subset"]), images)

    return _read(root / FOLDER / f"{dataset}.json", parsed)


def _read(path: Path, parsed: Callable[[str], T]) -> T | None:
    """What ``parsed`` makes of a file's text; None where there is no file."""
    try:
        return parsed(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: the record is damaged ({error}); delete it and prepare the data again") from None


def crc_of(path: Path) -> int:
    """The CRC-32 of a file, or an OSError."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _path(root: Path, part: str) -> Path:
    return root / FOLDER / f"{part}.txt"
