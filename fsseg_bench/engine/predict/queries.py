"""The images to segment: files, folders, patterns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.errors import UserError

_SUFFIXES = {suffix.lower() for suffix in IMAGE_SUFFIXES}
_MAGIC = "*?["


class Query(NamedTuple):
    """An image to segment."""

    path: Path
    name: PurePath
    """Its path in the folder, or below the folders that the pattern names; of a file its name. Outputs lie alike."""


class Queries(NamedTuple):
    """What was found, and what was not taken."""

    found: list[Query]
    skipped: list[str]
    """What was left out, each with its number: ``3 that are no images``."""


def find_queries(given: Iterable[Path | str]) -> Queries:
    """The images that are meant, sorted within each folder or pattern, each once.

    A file is taken whatever its name is, and whether or not it can be read. Of a folder (not of folders in it) and of
    a pattern (``*``, ``?``, ``[...]``, and ``**`` for any folders), the files that are called as images are.

    Raises:
        UserError: nothing is given, or a folder or pattern has no image.
    """
    queries: dict[Path, Query] = {}
    skipped = Counter[str]()
    for text in given:
        path = Path(text).expanduser()
        if path.is_dir():
            found, left = _images(path.iterdir(), path)
        elif any(c in str(path) for c in _MAGIC) and not path.exists():
            found, left = _matching(path)
        else:
            found, left = [Query(path, PurePath(path.name))], Counter[str]()
        if not found:
            told = f" ({_told(left)})" if left else ""
            raise UserError(f"--query {text}: no image there{told}; images end in {', '.join(sorted(_SUFFIXES))}")
        skipped += left
        for query in found:
            if queries.setdefault(query.path, query) is not query:
                skipped["given twice"] += 1
    if not queries:
        raise UserError("no query is given: name at least one image (--query IMAGE)")
    return Queries(list(queries.values()), [f"{count} {kind}" for kind, count in skipped.items()])


def _matching(pattern: Path) -> tuple[list[Query], Counter[str]]:
    depth = next(i for i, part in enumerate(pattern.parts) if any(c in part for c in _MAGIC))
    base = Path(*pattern.parts[:depth])
    try:
        return _images(base.glob(str(Path(*pattern.parts[depth:]))), base)
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"--query {pattern}: not a pattern: {error}") from None


def _images(paths: Iterable[Path], base: Path) -> tuple[list[Query], Counter[str]]:
    found, skipped = [], Counter[str]()
    for path in sorted(paths):
        name = path.relative_to(base)
        if any(part.startswith(".") for part in name.parts):
            skipped["hidden"] += 1
        elif path.is_dir():
            skipped["folders"] += 1
        elif path.suffix.lower() not in _SUFFIXES:
            skipped["that are no images"] += 1
        else:
            found.append(Query(path, name))
    return found, skipped


def _told(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in skipped.items())
