"""Looks through zip and tar archives without trusting them."""

from __future__ import annotations

import fnmatch
import gzip
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal, NamedTuple, cast

from fsseg_bench.errors import UserError
from fsseg_bench.paths import one_line

Kind = Literal["file", "folder", "other"]
_PADDING = 64
"""Less than as many MiB may follow the end of a tar archive."""
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
# RuntimeError and its subclasses are zipfile's words for what it cannot open


class ArchiveError(UserError):
    """The archive is damaged or not safe to unpack."""


class Member(NamedTuple):
    """A member of an archive."""

    name: str
    """Of kept files relative to the folder of the archive that is kept, with ``/``; else as the archive has it."""
    kind: Kind
    size: int
    crc: int | None
    """CRC-32 as the archive states it; tar archives state none."""
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Selection:
    """What of an archive is kept."""

    inside: str
    """A folder in the archive."""
    patterns: tuple[str, ...]
    """File name patterns relative to it; ``*`` stands for a part of one name."""
    trusted: bool = False
    """Whether the archive is known by its checksum: members that are not kept are then passed over unseen."""
    most_members: int = 1_000_000
    """No sound archive has more."""
    growth: int = 20
    """Times the archive's own size that its files may take."""
    spare: int = 64 << 20
    """Bytes that they may take besides."""

    def find(self, name: str) -> str | None:
        """The path of a kept file relative to ``inside``; None for what is not kept."""
        try:
            path = PurePosixPath(name).relative_to(self.inside)
        except ValueError:
            return None
        if path.name.startswith("."):
            return None
        return str(path) if any(_matches(path, pattern) for pattern in self.patterns) else None


def _matches(path: PurePosixPath, pattern: str) -> bool:
    parts = pattern.split("/")
    return len(parts) == len(path.parts) and all(map(fnmatch.fnmatchcase, path.parts, parts))


def look_through(archive: Path, selection: Selection) -> dict[str, Member]:
    """All kept files of an archive by path, after every check that is possible before unpacking.

    Raises:
        ArchiveError: damaged; a name that is absolute or climbs out; a link or device; too many or too large
            members; a file twice. Names the member.
    """
    found: dict[str, Member] = {}
    with damage(archive):
        most = selection.growth * archive.stat().st_size + selection.spare
    total = 0
    for number, entry in enumerate(_entries(archive)):
        if number >= selection.most_members:
            raise ArchiveError(f"{archive}: has more than {selection.most_members:,} members; it is refused")
        path = selection.find(entry.name)
        if path is None and selection.trusted:
            continue
        if wrong := _wrong(entry):
            raise ArchiveError(f"{archive}: the member {entry.name!r} {wrong}; the archive is refused")
        total += entry.size
        if total > most:
            raise ArchiveError(
                f"{archive}: with the member {entry.name!r} its files take more than {most:,} bytes; "
                "the archive is refused"
            )
        if path is None or entry.kind != "file":
            continue
        if path in found:
            raise ArchiveError(f"{archive}: the member {entry.name!r} is there twice; the archive is refused")
        found[path] = entry._replace(name=path)
    return found


def find_folder(archive: Path, mark: str) -> str | None:
    """The folder of an archive in which a file matches the pattern ``mark``, ``.`` for none around it.

    None: no file does.

    Raises:
        ArchiveError: damaged.
    """
    deep = mark.count("/") + 1
    for entry in _entries(archive):
        parts = PurePosixPath(entry.name).parts
        if entry.kind == "file" and _matches(PurePosixPath(*parts[-deep:]), mark):
            return str(PurePosixPath(*parts[:-deep]))
    return None


def unpack(archive: Path, selection: Selection, members: Mapping[str, Member]) -> Iterator[tuple[Member, IO[bytes]]]:
    """Each of ``members`` (from :func:`look_through`) with its content, in the archive's order.

    The content must be read before the next one is asked for, under :func:`damage`.

    Raises:
        ArchiveError: damaged.
    """
    for entry in _entries(archive):
        path = selection.find(entry.name)
        if path is None or entry.kind != "file" or path not in members:
            continue
        with damage(archive):
            file = entry.open()
        with file:
            yield members[path], file


@contextmanager
def damage(archive: Path) -> Iterator[None]:
    """Turns what reading a damaged archive raises into a message; writing must not happen inside.

    Raises:
        ArchiveError: names the archive.
    """
    try:
        yield
    except _BROKEN as error:
        reason = error or type(error).__name__
        raise ArchiveError(f"{archive}: damaged, or not an archive of its kind: {reason}") from None


def _entries(archive: Path) -> Iterator[Member]:
    entries = _zip_entries(archive) if archive.suffix == ".zip" else _tar_entries(archive)
    while True:
        with damage(archive):
            entry = next(entries, None)
        if entry is None:
            return
        yield entry


def _zip_entries(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            kind: Kind = "folder" if info.is_dir() else "file" if mode in {0, stat.S_IFREG} else "other"
            yield Member(info.filename, kind, info.file_size, info.CRC, partial(content.open, info))


def _tar_entries(archive: Path) -> Iterator[Member]:
    with ExitStack() as stack:
        file: BinaryIO | gzip.GzipFile = stack.enter_context(archive.open("rb"))
        if archive.suffix != ".tar":
            file = stack.enter_context(gzip.open(archive))
        content = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
        for info in content:
            plain = info.isreg() and not info.issparse()
            kind: Kind = "folder" if info.isdir() else "file" if plain else "other"
            opened = cast(Callable[[], IO[bytes]], partial(content.extractfile, info))  # None for what is no file
            yield Member(info.name, kind, info.size, None, opened)
        for _ in range(_PADDING):  # gzip's checksum comes after the end of the tar archive
            if not file.read(1 << 20):
                return
        raise tarfile.ReadError("goes on after its end")


def _wrong(entry: Member) -> str:
    """Why an entry is not safe to unpack; empty when it is."""
    path = PurePosixPath(entry.name)
    if path.is_absolute() or re.match(r"[A-Za-z]:", entry.name):
        return "has an absolute name"
    if ".." in path.parts:
        return "climbs out of its folder"
    if "\\" in entry.name or not one_line(entry.name):
        return "has a name that is not portable"
    return "is a link or a device" if entry.kind == "other" else ""
