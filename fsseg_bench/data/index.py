"""The pair index: which image shows how many pixels of which class. Read once from the masks, then cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from fsseg_bench.data.cachefile import Arrays, load_arrays, save_arrays
from fsseg_bench.data.source import Source
from fsseg_bench.paths import cache_root
from fsseg_bench.protocol.spec import Protocol

_FORMAT = 1
"""Raised when what is kept in the cache changes."""
_ARRAYS = ("state", "fingerprint", "images", "image", "class", "pixels", "test")
_THREADS = 4
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class PairIndex:
    """All pairs (image, class) of a protocol's lists."""

    protocol: Protocol
    """The protocol whose rules the pairs are chosen by."""
    fingerprint: str
    """SHA-256 (hex) of the lists, image file sizes and labels: the same wherever the data lie."""
    frame: pd.DataFrame
    """Columns ``image`` (id), ``class`` (id), ``pixels`` (native, at least 1), ``split`` (``train`` or ``test``);
    sorted by split, image and class. Every class that an image shows, however small."""

    def test_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Novel class to the test images with at least ``min_object_pixels`` of it, sorted; maybe none."""
        return self._pairs("test", self.protocol.novel_classes(fold), without=())

    def train_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Base class to the training images with at least ``min_object_pixels`` of it, sorted; maybe none.

        With ``novel_in_train = "drop-image"``, images with any pixel of a novel class are left out.
        """
        drop = self.protocol.data.novel_in_train == "drop-image"
        without = self.protocol.novel_classes(fold) if drop else ()
        return self._pairs("train", self.protocol.base_classes(fold), without)

    def _pairs(self, split: str, classes: Iterable[int], without: Sequence[int]) -> dict[int, tuple[str, ...]]:
        rows = self.frame[self.frame["split"] == split]
        dropped = rows.loc[rows["class"].isin(list(without)), "image"]
        large = rows[(rows["pixels"] >= self.protocol.data.min_object_pixels) & ~rows["image"].isin(dropped)]
        return {c: tuple(sorted(large.loc[large["class"] == c, "image"])) for c in classes}


class _Facts(NamedTuple):
    pixels: dict[int, int]
    line: str
    """What enters the fingerprint."""


def build_index(source: Source, protocol: Protocol) -> PairIndex:
    """The pair index of ``protocol``'s lists, from the cache unless the files have changed.

    Raises:
        UserError: a list, an image or a mask is missing or wrong; names the file.
    """
    data = protocol.data
    settings = [_FORMAT, str(source.root), data.source, data.year, data.masks, source.classes]
    settings += [data.train_list, data.test_list, data.train_excludes_test]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
    state = source.fingerprint(tuple(dict.fromkeys((*data.train_list, *data.test_list))))
    path = cache_root() / "index" / f"{key}.npz"
    arrays = load_arrays(path, _ARRAYS)
    if arrays is None or str(arrays["state"]) != state:
        arrays = {"state": np.array(state), **_read(source, protocol)}
        save_arrays(path, arrays)
    return PairIndex(protocol, str(arrays["fingerprint"]), _frame(arrays))


def _read(source: Source, protocol: Protocol) -> Arrays:
    """Every mask of the lists, read once."""
    data = protocol.data
    test = {image for name in data.test_list for image in source.ids(name)}
    train = {image for name in data.train_list for image in source.ids(name)}
    if data.train_excludes_test:
        train -= test
    images = sorted(train | test)
    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        results = pool.map(partial(_facts, source), chunks)
        facts = [fact for chunk in results for fact in chunk]
    digest = hashlib.sha256()
    rows: list[tuple[int, int, int, bool]] = []
    for is_test, members in ((True, test), (False, train)):
        for number, (image, fact) in enumerate(zip(images, facts, strict=True)):
            if image in members:
                digest.update(f"{int(is_test)} {image} {fact.line}\n".encode())
                rows += [(number, c, n, is_test) for c, n in sorted(fact.pixels.items())]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return {
        "fingerprint": np.array(digest.hexdigest()),
        "images": np.array(images, dtype=np.str_),
        "image": columns[0],
        "class": columns[1],
        "pixels": columns[2],
        "test": columns[3],
    }


def _facts(source: Source, images: Sequence[str]) -> list[_Facts]:
    facts = []
    for image in images:
        line = f"{source.image_digest(image)} {source.label_digest(image)}"
        facts.append(_Facts(source.class_pixels(image), line))
    return facts


def _frame(arrays: Arrays) -> pd.DataFrame:
    names = arrays["images"].astype(object)
    return pd.DataFrame(
        {
            "image": names[arrays["image"]],
            "class": arrays["class"],
            "pixels": arrays["pixels"],
            "split": np.where(arrays["test"] == 1, "test", "train"),
        }
    )
