"""The data file of sources: addresses, checksums, what is kept of an archive, and what the lists must hold."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular
from fsseg_bench.schema import Must, Range, parse

_BUILT_IN = Path(__file__).with_name("sources.toml")


def _stays_below(folder: str) -> bool:
    path = PurePosixPath(folder)
    return bool(folder) and not path.is_absolute() and ".." not in path.parts


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive that can be looked through."""
    return PurePosixPath(name).name == name and name.endswith((".tar", ".tgz", ".tar.gz", ".zip"))


def _hexadecimal(digits: int) -> Must:
    return Must(
        f"{digits} hexadecimal digits", lambda text: len(text) == digits and set(text) <= set("0123456789abcdef")
    )


_Count = Annotated[int, Range(least=0)]
_Folder = Annotated[str, Must("a folder below the data root or in the archive", _stays_below)]


@dataclass(frozen=True)
class FileSet:
    """Files of a part as they lie under the data root."""

    target: _Folder
    """Their folder, relative to the data root."""
    files: Mapping[str, _Count]
    """Pattern, relative to ``target``, to how many files it must match."""


@dataclass(frozen=True)
class Part:
    """An archive and the files of it that are kept."""

    title: str
    terms: str
    """The licence, as far as it is known."""
    archive: Annotated[str, Must("the name of a .tar, .tgz, .tar.gz or .zip file", is_archive)]
    urls: tuple[str, ...]
    size: _Count
    """Of the archive, in bytes; 0 is not known."""
    unpacked: _Count
    """About how many bytes the kept files take; 0 is not known."""
    inside: _Folder
    """The folder in the archive that holds the kept files."""
    target: _Folder
    """The folder of the kept files, relative to the data root."""
    files: Mapping[str, _Count]
    """Pattern, relative to ``target``, to how many files it must match."""
    sha256: Annotated[str, _hexadecimal(64)] | None = None
    md5: Annotated[str, _hexadecimal(32)] | None = None
    instead: FileSet | None = None
    """Other files that serve as well when they are there already."""
    get: str = ""
    """Where people get the archive or the files, when there is no address that stays; else empty."""
    mark: str = ""
    """Pattern, relative to ``target``, that tells the folder of the files from others: with it the files are looked for
    in the folders below the one that is given, too, so that a name that somebody's archive put around them is no
    matter."""
    name: str = field(init=False, default="")
    """The key in the file."""

    def packed_as(self, archive: str, inside: str) -> Part:
        """The same files in an archive of another name, in another folder."""
        return self._with(archive=archive, inside=inside)

    def of_size(self, size: int) -> Part:
        """The same files in an archive of ``size`` bytes."""
        return self._with(size=size)

    def _with(self, **changes: Any) -> Part:
        part = replace(self, **changes)
        object.__setattr__(part, "name", self.name)  # which is not given in the table of a part
        return part

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` or ``md5:<hex>`` of the archive; empty when none is published."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else ""

    @property
    def layout(self) -> FileSet:
        """The kept files under the data root."""
        return FileSet(self.target, self.files)

    @property
    def layouts(self) -> tuple[FileSet, ...]:
        """All sets of files that serve."""
        return (self.layout,) if self.instead is None else (self.layout, self.instead)


@dataclass(frozen=True)
class Published:
    """Counts of (image, class) pairs that others published."""

    list: str
    """The list's name."""
    origin: str
    min_object_pixels: int
    pairs: tuple[int, ...]
    """One for each class of the protocol, in order."""


@dataclass(frozen=True)
class Stated:
    """Counts that a paper, its code or its users state; they may contradict one another."""

    origin: str
    counts: Annotated[tuple[_Count, ...], Must("a list of at least one number", bool)]
    """Pairs (image, class) of each class of the protocol, in order; one number is their sum."""


@dataclass(frozen=True)
class Dataset:
    """What a protocol needs, and what is known of it."""

    name: str
    protocols: tuple[str, ...]
    """Protocols that use it; the first one builds the pair index."""
    year: int | None
    parts: tuple[Part, ...]
    images: Mapping[str, int]
    """List name to how many images it must have."""
    published: Published | None
    make: str = ""
    """What makes the data of the protocol from the parts: a module of :mod:`fsseg_bench.data.prepare.making`."""
    stated: tuple[Stated, ...] = ()
    """Counts of others, shown beside those that are found."""


def find_dataset(name: str, year: int | None = None, path: Path | None = None) -> Dataset:
    """The data set of a protocol (``pascal5i``, ``coco20i-a``, ...) or of a family (``coco20i``).

    ``year`` is the edition, for COCO; None is the first that the file has. ``path`` is as of :func:`load_sources`.

    Raises:
        UserError: no such data set, or it has no such edition; or as :func:`load_sources`.
    """
    datasets = load_sources(path)
    families = [d for d in datasets if name in {d.name, _family(d.name), *d.protocols}]
    if not families:
        known = {p for d in datasets for p in d.protocols} | {_family(d.name) for d in datasets}
        raise unknown("data set", name, known)
    for dataset in families:
        if year in {None, dataset.year}:
            return dataset
    years = [str(d.year) for d in families if d.year]
    raise UserError(f"--year {year}: {name} has {'the years ' + ', '.join(years) if years else 'no years'}")


def of_protocol_file(path: str) -> Dataset:
    """The data set of a protocol file of the user's own: nothing is known of it but what the protocol says."""
    return Dataset(path, (path,), year=None, parts=(), images={}, published=None)


def _family(name: str) -> str:
    stem, _, year = name.rpartition("-")
    return stem if year.isdigit() else name


def load_sources(path: Path | None = None) -> tuple[Dataset, ...]:
    """The data sets of the sources file that comes with the package, or another of the same form.

    Raises:
        UserError: unreadable, or a key is missing, unknown or wrong; names the file and the key.
    """
    path = path or _BUILT_IN
    try:
        table = tomllib.loads(regular(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    file = parse(_File, table, path)
    for name, part in file.parts.items():
        object.__setattr__(part, "name", name)
    for name, entry in file.datasets.items():
        for key in entry.parts:
            if key not in file.parts:
                raise unknown("part", key, file.parts, where=f"{path}: datasets.{name}.parts")
    return tuple(entry.dataset(name, file.parts) for name, entry in file.datasets.items())


@dataclass(frozen=True)
class _DatasetEntry:
    """A data set as the file has it."""

    protocols: Annotated[tuple[str, ...], Must("a list of at least one name", bool)]
    parts: tuple[str, ...]
    images: Mapping[str, _Count]
    year: int | None = None
    published: Published | None = None
    make: str = ""
    stated: tuple[Stated, ...] = ()

    def dataset(self, name: str, parts: Mapping[str, Part]) -> Dataset:
        return Dataset(**{**vars(self), "name": name, "parts": tuple(parts[p] for p in self.parts)})


@dataclass(frozen=True)
class _File:
    parts: Mapping[str, Part]
    datasets: Mapping[str, _DatasetEntry]
