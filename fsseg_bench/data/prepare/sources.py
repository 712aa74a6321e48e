"""The data file of sources: addresses, checksums, what is kept of an archive, and what the lists must hold."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, get_origin

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular

_BUILT_IN = Path(__file__).with_name("sources.toml")
_DIGESTS = {"sha256": 64, "md5": 32}
"""Hexadecimal digits of each kind of checksum."""

T = TypeVar("T")


@dataclass(frozen=True)
class Archive:
    """A file that is downloaded."""

    name: str
    urls: tuple[str, ...]
    size: int
    """In bytes."""
    digest: str
    """``sha256:<hex>`` or ``md5:<hex>``; empty when none is published."""


@dataclass(frozen=True)
class Layout:
    """Files as they lie under the data root."""

    target: str
    """Their folder, relative to the data root."""
    files: Mapping[str, int]
    """Pattern, relative to ``target``, to how many files it must match."""


@dataclass(frozen=True)
class Part:
    """An archive and the files of it that are kept."""

    name: str
    title: str
    terms: str
    """The licence, as far as it is known."""
    archive: Archive
    unpacked: int
    """About how many bytes the kept files take."""
    inside: str
    """The folder in the archive that holds the kept files."""
    layout: Layout
    instead: Layout | None
    """Other files that serve as well when they are there already."""


@dataclass(frozen=True)
class Published:
    """Counts of (image, class) pairs that others published."""

    list_name: str
    origin: str
    min_object_pixels: int
    pairs: tuple[int, ...]
    """One for each class of the protocol, in order."""


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


@dataclass(frozen=True)
class Sources:
    """One sources file."""

    datasets: Mapping[str, Dataset]

    def dataset(self, name: str, year: int | None = None) -> Dataset:
        """The data set of a protocol (``pascal5i``, ``coco20i-a``, ...) or of a family (``coco20i``).

        Args:
            name: which.
            year: the edition, for COCO; None is the first that the file has.

        Raises:
            UserError: no such data set, or it has no such edition.
        """
        families = {n: d for n, d in self.datasets.items() if name in {n, _family(n), *d.protocols}}
        if not families:
            known = {p for d in self.datasets.values() for p in d.protocols} | {_family(n) for n in self.datasets}
            raise unknown("data set", name, known)
        if year is None:
            return next(iter(families.values()))
        for dataset in families.values():
            if dataset.year == year:
                return dataset
        years = [str(d.year) for d in families.values() if d.year]
        raise UserError(f"--year {year}: {name} has {'the years ' + ', '.join(years) if years else 'no years'}")


def of_protocol_file(path: str) -> Dataset:
    """The data set of a protocol file of the user's own: nothing is known of it but what the protocol says."""
    return Dataset(path, (path,), year=None, parts=(), images={}, published=None)


def _family(name: str) -> str:
    stem, _, year = name.rpartition("-")
    return stem if year.isdigit() else name


def load_sources(path: Path | None = None) -> Sources:
    """The sources file that comes with the package, or another of the same form.

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
    top = _Table(path, "", table)
    parts = {name: _part(name, t) for name, t in top.tables("parts").items()}
    datasets = {name: _dataset(name, t, parts) for name, t in top.tables("datasets").items()}
    top.end()
    return Sources(datasets)


class _Table:
    """A table of the file whose keys are taken one by one; what is left in the end is a mistake."""

    def __init__(self, path: Path, where: str, values: Any) -> None:
        self.path, self.where = path, where
        if not isinstance(values, dict):
            raise UserError(f"{path}: {where} must be a table")
        self.values = dict(values)

    def refuse(self, key: str, what: str) -> UserError:
        return UserError(f"{self.path}: {self.where}{key}: {what}")

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        value = self.values.pop(key, default)
        if value is None:
            raise self.refuse(key, "is missing")
        wanted = get_origin(kind) or kind
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise self.refuse(key, f"is {value!r}; it must be of type {wanted.__name__}")
        if isinstance(value, int) and value < 0:
            raise self.refuse(key, f"is {value}; it must not be negative")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list[Any])
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(key, "must be a list of texts")
        return tuple(values)

    def counts(self, key: str) -> dict[str, int]:
        values = self.take(key, dict[str, Any])
        if not all(type(value) is int and value >= 0 for value in values.values()):
            raise self.refuse(key, "must give a whole number for each name")
        return values

    def folder(self, key: str) -> str:
        text = self.take(key, str)
        path = PurePosixPath(text)
        if not text or path.is_absolute() or ".." in path.parts:
            raise self.refuse(key, f"is {text!r}; it must be a folder below the data root or in the archive")
        return text

    def table(self, key: str) -> _Table | None:
        value = self.values.pop(key, None)
        return None if value is None else _Table(self.path, f"{self.where}{key}.", value)

    def tables(self, key: str) -> dict[str, _Table]:
        table = self.table(key)
        if table is None:
            raise self.refuse(key, "is missing")
        return {name: _Table(self.path, f"{table.where}{name}.", value) for name, value in table.values.items()}

    def end(self) -> None:
        for key in self.values:
            raise self.refuse(key, "is unknown")


def _part(name: str, table: _Table) -> Part:
    instead = table.table("instead")
    part = Part(
        name=name,
        title=table.take("title", str),
        terms=table.take("terms", str),
        archive=_archive(table),
        unpacked=table.take("unpacked", int),
        inside=table.folder("inside"),
        layout=Layout(table.folder("target"), table.counts("files")),
        instead=None if instead is None else Layout(instead.folder("target"), instead.counts("files")),
    )
    for rest in (table, instead):
        if rest is not None:
            rest.end()
    return part


def _archive(table: _Table) -> Archive:
    name = table.take("archive", str)
    if PurePosixPath(name).name != name or not name.endswith((".tar", ".tgz", ".tar.gz", ".zip")):
        raise table.refuse("archive", f"is {name!r}; it must be the name of a .tar, .tgz, .tar.gz or .zip file")
    digest = ""
    for kind, digits in _DIGESTS.items():
        text = table.take(kind, str, "").lower()
        if text and (len(text) != digits or set(text) - set("0123456789abcdef")):
            raise table.refuse(kind, f"is {text!r}; it must have {digits} hexadecimal digits")
        digest = digest or (text and f"{kind}:{text}")
    return Archive(name, table.texts("urls"), table.take("size", int), digest)


def _dataset(name: str, table: _Table, parts: Mapping[str, Part]) -> Dataset:
    names = table.texts("parts")
    for part in names:
        if part not in parts:
            raise unknown("part", part, parts, where=f"{table.path}: {table.where}parts")
    published = table.table("published")
    dataset = Dataset(
        name=name,
        protocols=table.texts("protocols"),
        year=table.take("year", int, 0) or None,
        parts=tuple(parts[part] for part in names),
        images=table.counts("images"),
        published=None if published is None else _published(published),
    )
    if not dataset.protocols:
        raise table.refuse("protocols", "must name at least one")
    table.end()
    return dataset


def _published(table: _Table) -> Published:
    pairs = table.take("pairs", list[Any])
    if not all(type(value) is int for value in pairs):
        raise table.refuse("pairs", "must be a list of whole numbers")
    published = Published(
        list_name=table.take("list", str),
        origin=table.take("origin", str),
        min_object_pixels=table.take("min_object_pixels", int),
        pairs=tuple(pairs),
    )
    table.end()
    return published
