"""Which images are one photo: an id tells names apart, a file's content tells photos apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.data.decode import read_file, sha256
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular

_THREADS = 8
_SAMPLE = 4096  # bytes, from the middle: JPEG files of one camera begin and end alike


class _File(NamedTuple):
    """A file, the same for all names that lead to it."""

    place: tuple[int, ...] | str
    """Device and inode, and the time of the last change; the real path where the system numbers no files."""
    size: int


def find_copies(source: Source, images: Iterable[str]) -> dict[str, str]:
    """The ids whose photo another id has, too: to the first such id in the order of names, which is left out itself.

    Photos are the same where their files are (the same path, a link, a hard link), or hold the same bytes. A picture
    that was saved anew, in another size or compression, is another photo: its file does not tell.

    Only files of equal size are read, and in whole those alone that agree in a sample: of 120,000 photos about half
    share their size with another, and hardly one has a copy.

    Raises:
        UserError: an image's file is missing or cannot be read; names it.
    """
    return _copies(_paths(source, images))


def shared_photos(source: Source, images: Iterable[str], other: Source, others: Iterable[str]) -> dict[str, str]:
    """The ``images`` of ``source`` whose photo ``other`` has among ``others``, to the first id that it has there.

    Photos are told apart as by :func:`find_copies`.

    Raises:
        UserError: an image's file is missing or cannot be read; names it.
    """
    theirs = {f"0 {image}": path for image, path in _paths(other, others).items()}  # sorted before the source's own
    mine = {f"1 {image}": path for image, path in _paths(source, images).items()}
    copies = _copies(theirs | mine)
    return {one[2:]: first[2:] for one, first in copies.items() if one[0] == "1" and first[0] == "0"}


def _paths(source: Source, images: Iterable[str]) -> dict[str, Path]:
    return {image: path for image in sorted(set(images)) if (path := source.photo_file(image)) is not None}


def _copies(paths: Mapping[str, Path]) -> dict[str, str]:
    files = {image: _file(path) for image, path in paths.items()}
    first = {file: paths[image] for image, file in reversed(files.items())}
    names = _apart({file: file.size or file for file in first})  # empty files are no photo, let alone the same one
    for look in (_sample, _content):
        again = [file for file, others in names.items() if others is not None]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="photos") as pool:
            seen = dict(zip(again, pool.map(look, [first[file] for file in again]), strict=True))
        names |= _apart({file: (names[file], seen[file]) for file in again})
    photos = {image: file if (key := names[file]) is None else key for image, file in files.items()}
    return of_photos(photos)


def of_photos(photos: Mapping[str, Hashable]) -> dict[str, str]:
    """The ids of a photo that an earlier id has: to that id."""
    first: dict[Hashable, str] = {}
    return {image: found for image in sorted(photos) if (found := first.setdefault(photos[image], image)) != image}


def _apart(keys: Mapping[_File, Hashable]) -> dict[_File, Hashable | None]:
    """Each file's key; None where no other file has it."""
    groups: dict[Hashable, list[_File]] = defaultdict(list)
    for file, key in keys.items():
        groups[key].append(file)
    return {file: key if len(groups[key]) > 1 else None for file, key in keys.items()}


def _file(path: Path) -> _File:
    try:
        facts = path.stat()
        number = (facts.st_dev, facts.st_ino, facts.st_mtime_ns)
        return _File(number if facts.st_ino else str(path.resolve()), facts.st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _sample(path: Path) -> str:
    try:
        with regular(path).open("rb", buffering=0) as file:
            file.seek(max(0, (path.stat().st_size - _SAMPLE) // 2))
            return sha256(file.read(_SAMPLE))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _content(path: Path) -> str:
    return sha256(read_file(path, "image"))
