"""The pair index: which image shows how many pixels of which class. Read once from the masks, then cached."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fsseg_bench.data.cachefile import Arrays, load_arrays, save_arrays
from fsseg_bench.data.decode import sha256
from fsseg_bench.data.lists import Listed, read_list
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.paths import cache_root
from fsseg_bench.protocol.spec import Protocol

_FORMAT = 3
"""Raised when what is kept in the cache changes."""
_ARRAYS = ("state", "fingerprint", "images", "image", "class", "pixels", "test", "listed", "turned")
_THREADS = 4
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class PairIndex:
    """All pairs (image, class) of a protocol's lists."""

    protocol: Protocol
    """The protocol whose rules the pairs are chosen by."""
    fingerprint: str
    """SHA-256 (hex) of the lists, the pairs they restrict, image file sizes and labels, and whether images are turned
    upright: the same wherever the data lie."""
    frame: pd.DataFrame
    """Columns ``image`` (id), ``class`` (id), ``pixels`` (native, at least 1), ``split`` (``train`` or ``test``),
    ``listed`` (whether the lists allow the pair); sorted by split, image and class. Every class that an image shows,
    however small, listed or not."""
    source_remarks: tuple[str, ...] = ()
    """What the source says of the lists' images: :meth:`fsseg_bench.data.source.Source.remarks`."""

    def test_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Novel class to the listed test images with at least ``min_object_pixels`` of it, sorted; maybe none."""
        return self._pairs("test", self.protocol.novel_classes(fold), without=())

    def test_images(self, class_id: int) -> tuple[str, ...]:
        """The same of one class, whichever fold holds it out, if any does."""
        return self._pairs("test", (class_id,), without=())[class_id]

    def train_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Base class to the listed training images with at least ``min_object_pixels`` of it, sorted; maybe none.

        With ``novel_in_train = "drop-image"``, images with any pixel of a novel class are left out.
        """
        drop = self.protocol.data.novel_in_train == "drop-image"
        without = self.protocol.novel_classes(fold) if drop else ()
        return self._pairs("train", self.protocol.base_classes(fold), without)

    def _pairs(self, split: str, classes: Iterable[int], without: Sequence[int]) -> dict[int, tuple[str, ...]]:
        rows = self.frame[self.frame["split"] == split]
        dropped = rows.loc[rows["class"].isin(list(without)), "image"]
        large = rows[rows["listed"] & (rows["pixels"] >= self.protocol.data.min_object_pixels)]
        large = large[~large["image"].isin(dropped)]
        return {c: tuple(sorted(large.loc[large["class"] == c, "image"])) for c in classes}


_Facts = tuple[dict[int, int], str]
"""Pixels of each class, and what enters the fingerprint."""


def build_index(source: Source, protocol: Protocol) -> PairIndex:
    """The pair index of ``protocol``'s lists, from the cache unless the files have changed.

    Raises:
        UserError: a list, an image or a mask is missing or wrong; names the file.
    """
    data = protocol.data
    settings = [_FORMAT, str(source.root), data.source, data.options, _code(type(source)), source.classes]
    # Not in the key: min_object_pixels, novel_in_train and folds, which choose among the pairs that are kept.
    settings += [data.train_list, data.test_list, data.train_excludes_test, dict(protocol.list_digests), source.upright]
    key = hashlib.sha256(json.dumps(settings, default=vars).encode()).hexdigest()[:32]
    state = source.fingerprint(tuple(dict.fromkeys((*data.train_list, *data.test_list))))
    path = cache_root() / "index" / f"{key}.npz"
    arrays = load_arrays(path, _ARRAYS)
    if arrays is None or str(arrays["state"]) != state:
        arrays = {"state": np.array(state), **_read(source, protocol)}
        save_arrays(path, arrays)
    images, turned = arrays["images"].tolist(), set(arrays["turned"].tolist())
    source.known.turned.update((image, image in turned) for image in images)
    remarks = source.remarks(images)
    return PairIndex(protocol, str(arrays["fingerprint"]), _frame(arrays), tuple(remarks))


def _code(kind: type[Source]) -> str:
    """Digests of the Python files beside a source from outside the package, whose author cannot raise ``_FORMAT``."""
    file = getattr(sys.modules[kind.__module__], "__file__", None)
    if file is None or kind.__module__.startswith("fsseg_bench."):
        return ""
    return " ".join(sha256(path.read_bytes()) for path in sorted(Path(file).parent.glob("*.py")))


def _read(source: Source, protocol: Protocol) -> Arrays:
    """Every mask of the lists, read once."""
    data = protocol.data
    test, train = _members(source, data.test_list), _members(source, data.train_list)
    if data.train_excludes_test:
        train = {image: classes for image, classes in train.items() if image not in test}
    images = sorted(train.keys() | test.keys())
    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        results = pool.map(partial(_facts, source), chunks)
        facts = [fact for chunk in results for fact in chunk]
    # of the package's own protocols, photos are as the papers had them: no need to look at 120,000 headers
    turned = source.turned(images) if protocol.home is not None else []
    digest = hashlib.sha256(b"upright\n" if source.upright else b"")
    rows: list[tuple[int, int, int, bool, bool]] = []
    for is_test, members in ((True, test), (False, train)):
        for number, (image, (pixels, line)) in enumerate(zip(images, facts, strict=True)):
            if image in members:
                allowed = members[image]
                _check_shown(source, image, allowed, pixels)
                # a list of images adds nothing to the fingerprint, one of pairs its classes
                only = "" if allowed is None else f" only {' '.join(map(str, sorted(allowed)))}"
                digest.update(f"{int(is_test)} {image} {line}{only}\n".encode())
                for c, n in sorted(pixels.items()):
                    rows.append((number, c, n, is_test, allowed is None or c in allowed))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    return {
        "fingerprint": np.array(digest.hexdigest()),
        "images": np.array(images, dtype=np.str_),
        "image": columns[0],
        "class": columns[1],
        "pixels": columns[2],
        "test": columns[3],
        "listed": columns[4],
        "turned": np.array(turned, dtype=np.str_),
    }


def _members(source: Source, lists: Sequence[str]) -> Listed:
    """The lists' images, each with the classes that count in it; None: all."""
    members: Listed = {}
    for entry in lists:
        for image, own in read_list(source, entry).items():
            before = members.get(image, frozenset())
            members[image] = None if own is None or before is None else own | before
    return members


def _check_shown(source: Source, image: str, allowed: frozenset[int] | None, pixels: dict[int, int]) -> None:
    missing = sorted((allowed or frozenset()) - pixels.keys())
    if missing:
        name = source.classes[missing[0] - 1]
        raise UserError(
            f"a list has {image}__{missing[0]:02}, but the mask of {image} shows no {name!r}: "
            "the list was made for other masks or other classes; take the line out, or use its masks"
        )


def _facts(source: Source, images: Sequence[str]) -> list[_Facts]:
    return [(source.class_pixels(i), f"{source.image_digest(i)} {source.label_digest(i)}") for i in images]


def _frame(arrays: Arrays) -> pd.DataFrame:
    names = arrays["images"].astype(object)
    return pd.DataFrame(
        {
            "image": names[arrays["image"]],
            "class": arrays["class"],
            "pixels": arrays["pixels"],
            "split": np.where(arrays["test"] == 1, "test", "train"),
            "listed": arrays["listed"] == 1,
        }
    )
