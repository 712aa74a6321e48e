"""Puts the files of a part in their place: out of an archive, or from a folder that holds them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from fsseg_bench.data.prepare.archives import ArchiveError, Member, Selection, damage, look_through, unpack
from fsseg_bench.data.prepare.manifest import Content, crc_of
from fsseg_bench.data.prepare.sources import FileSet, Part
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.storage.files import atomic_writer, link_atomic, make_folder, remove_leftovers, writing

_CHUNK = 1 << 20


def place_archive(archive: Path, part: Part, root: Path, progress: Progress) -> dict[str, Content]:
    """Unpacks the kept files of a part; returns what lies where.

    The archive's checksum, where there is one, must have been checked. Every file appears under its name when it is
    whole. Files that are there already with the CRC-32 that a zip archive states are kept.

    Raises:
        ArchiveError: damaged, unsafe, or without the files that it must hold.
        UserError: full disk or unwritable folder.
    """
    selection = Selection(part.inside, tuple(part.layout.files), trusted=bool(part.digest))
    progress.say(f"looking through {archive.name}")
    members = look_through(archive, selection)
    _check_counts(archive, part, members)
    folder = root / part.layout.target
    placed: dict[str, Content] = {}
    total = sum(member.size for member in members.values())
    with progress.meter(f"unpacking {archive.name}", total, unit="bytes") as meter:
        for member, file in unpack(archive, selection, members):
            target = folder / member.name
            if member.crc is None or not _holds(target, Content(member.size, member.crc)):
                content = _write(target, _read(file, archive, member))
            else:
                content = Content(member.size, member.crc)
            placed[f"{part.layout.target}/{member.name}"] = content
            meter.advance(member.size)
    _settle(root, placed)
    return placed


def find_files(folder: Path, layout: FileSet) -> dict[str, Path]:
    """The files of a folder that has a layout, by path relative to it; none when a pattern matches nothing."""
    found: dict[str, Path] = {}
    for pattern in layout.files:
        matches = [path for path in folder.glob(pattern) if not path.name.startswith(".") and path.is_file()]
        if not matches:
            return {}
        found |= {path.relative_to(folder).as_posix(): path for path in sorted(matches)}
    return found


def other_case(files: Mapping[str, Path], layout: FileSet) -> list[str]:
    """Files beside those of a layout whose endings are the layout's but for the case of their letters, sorted."""
    name, path = next(iter(files.items()))
    folder = path.parents[name.count("/")]
    found = set()
    for pattern in layout.files:
        stem, dot, ending = pattern.rpartition(".")
        either = "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in ending)
        found |= {one.relative_to(folder).as_posix() for one in folder.glob(f"{stem}{dot}{either}") if one.is_file()}
    return sorted(name for name in found - files.keys() if not name.rpartition("/")[2].startswith("."))


def place_folder(files: Mapping[str, Path], layout: FileSet, root: Path, progress: Progress) -> dict[str, Content]:
    """Links the files of a layout to their place, or copies them where links are not possible.

    Hard links take no room; nothing of this package ever writes into an existing file. Files that are in their
    place already stay.

    Raises:
        UserError: a file cannot be read, full disk or unwritable folder.
    """
    placed: dict[str, Content] = {}
    folder = root / layout.target
    with progress.meter(f"files of {layout.target}", len(files), unit="files") as meter:
        for name, path in files.items():
            target = folder / name
            try:
                content = Content(path.stat().st_size, crc_of(path))
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
            if path != target and not _holds(target, content):
                make_folder(target.parent)
                link_atomic(path.resolve(), target)
            placed[f"{layout.target}/{name}"] = content
            meter.advance()
    _settle(root, placed)
    return placed


def _check_counts(archive: Path, part: Part, members: Mapping[str, Member]) -> None:
    for pattern, count in part.layout.files.items():
        found = sum(Selection(".", (pattern,)).find(path) is not None for path in members)
        if found < count:
            raise ArchiveError(f"{archive}: holds {found:,} files {part.inside}/{pattern}; it must hold {count:,}")


def _read(file: IO[bytes], archive: Path, member: Member) -> Iterator[bytes]:
    left = member.size
    while True:
        with damage(archive):
            chunk = file.read(_CHUNK)
        left -= len(chunk)
        if left < 0 or (left and not chunk):
            raise ArchiveError(f"{archive}: the member {member.name!r} has not the {member.size:,} bytes it states")
        if not chunk:
            return
        yield chunk


def _write(target: Path, chunks: Iterator[bytes]) -> Content:
    size = crc = 0
    make_folder(target.parent)
    with atomic_writer(target, sync=False) as file:  # _settle syncs once for all
        for chunk in chunks:
            file.write(chunk)
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return Content(size, crc)


def _holds(path: Path, content: Content) -> bool:
    try:
        return path.stat().st_size == content.size and crc_of(path) == content.crc
    except OSError:
        return False


def _settle(root: Path, placed: Iterable[str]) -> None:
    """Leaves nothing unfinished behind, and waits until everything is on the disk."""
    with writing(root):
        for folder in {(root / name).parent for name in placed}:
            remove_leftovers(folder)
        os.sync()
