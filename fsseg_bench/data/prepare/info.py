"""What there is of a data set: place, origin, fingerprint, and images of each class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.prepare.manifest import read_manifest, read_record
from fsseg_bench.data.prepare.sources import Dataset
from fsseg_bench.protocol.spec import Protocol


class ClassRow(NamedTuple):
    """One class of a protocol."""

    number: int
    """The label value."""
    name: str
    fold: int | None
    """The fold that holds it out; None when it is always background."""
    train: int
    """Training images with at least ``min_object_pixels`` of it."""
    test: int
    """Test images with at least ``min_object_pixels`` of it."""


@dataclass(frozen=True)
class Info:
    """A prepared data set under one protocol."""

    place: Path
    origins: tuple[str, ...]
    """Where each part came from, as far as it is recorded."""
    fingerprint: str
    subset: bool
    images: dict[str, int]
    """List name to its number of images."""
    classes: tuple[ClassRow, ...]


def describe(dataset: Dataset, protocol: Protocol, root: Path | None) -> Info:
    """Looks at the data of a protocol; builds the pair index when there is none yet.

    Raises:
        UserError: the data are nowhere, or a file is missing or wrong.
    """
    source = open_source(protocol, root)
    record = read_record(root, dataset.name) if root is not None and dataset.parts else None
    manifests = [(part, read_manifest(root, part.name)) for part in dataset.parts] if root is not None else []
    index = build_index(source, protocol)
    lists = dict.fromkeys((*protocol.data.train_list, *protocol.data.test_list))
    return Info(
        place=source.root,
        origins=tuple(f"{part.title}: {manifest.origin}" for part, manifest in manifests if manifest is not None),
        fingerprint=index.fingerprint,
        subset=record is not None and record.subset,
        images={name: len(source.ids(name)) for name in lists},
        classes=_rows(index),
    )


def _rows(index: PairIndex) -> tuple[ClassRow, ...]:
    protocol = index.protocol
    large = index.frame[index.frame["pixels"] >= protocol.data.min_object_pixels]
    counts = Counter(zip(large["split"].tolist(), large["class"].tolist(), strict=True))
    folds = {name: fold for fold, names in protocol.folds.items() for name in names}
    return tuple(
        ClassRow(number, name, folds.get(name), counts["train", number], counts["test", number])
        for number, name in enumerate(protocol.classes, start=1)
    )
