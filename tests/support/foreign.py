"""Episode lists as other tools write them, made from tables of this package."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.protocol.foreign.images import TestImages
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable


def images_of(protocol: Protocol, each: int = 8, name: str = "{class_name}_{i}") -> TestImages:
    """``each`` test images of every held-out class; ``name`` makes their ids."""
    pairs = {
        fold: {
            c: [name.format(class_name=protocol.class_name(c), c=c, i=i) for i in range(each)]
            for c in protocol.novel_classes(fold)
        }
        for fold in protocol.folds
    }
    ids = {image for classes in pairs.values() for images in classes.values() for image in images}
    return TestImages(frozenset(ids), pairs)


@dataclass(frozen=True)
class Layout:
    """How another tool writes a list."""

    columns: Mapping[str, str]
    """What a column is (``fold``, ``class``, ``query``, ``supports`` or another word) to its name, in order."""
    fold_base: int = 1
    scope: str = "all"
    class_base: int = 1
    image: Callable[[str], str] = str
    """What an image id is written as."""
    joined: str | None = None
    """What separates supports in one cell; None: each has a column."""
    delimiter: str = ","
    header: bool = True
    end: str = "\n"


def written(tables: Mapping[int, EpisodeTable], protocol: Protocol, layout: Layout) -> str:
    """1-way tables of the folds as the text of one file."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=layout.delimiter, lineterminator=layout.end)
    if layout.header:
        shots = next(iter(tables.values())).shots
        writer.writerow(_header(layout, shots))
    for fold, table in tables.items():
        for i in range(len(table)):
            writer.writerow(_cells(table, i, fold, protocol, layout))
    return out.getvalue()


def _header(layout: Layout, shots: int) -> list[str]:
    names = []
    for what, name in layout.columns.items():
        names += [name.format(k) for k in range(shots)] if what == "supports" and layout.joined is None else [name]
    return names


def _cells(table: EpisodeTable, i: int, fold: int, protocol: Protocol, layout: Layout) -> Sequence[object]:
    (c,), (supports,) = table.classes[i], table.supports[i]
    place = c - 1 if layout.scope == "all" else protocol.novel_classes(fold).index(c)
    images = [layout.image(image) for image in supports]
    texts: dict[str, list[object]] = {
        "fold": [fold - 1 + layout.fold_base],
        "class": [protocol.class_name(c) if layout.scope == "name" else place + layout.class_base],
        "query": [layout.image(table.queries[i])],
        "supports": list(images) if layout.joined is None else [layout.joined.join(images)],
        "episode": [i],
    }
    return [cell for what in layout.columns for cell in texts.get(what, [what])]


def save(folder: Path, text: str) -> Path:
    """The text as a file, byte for byte."""
    path = folder / "theirs.csv"
    path.write_bytes(text.encode())
    return path
