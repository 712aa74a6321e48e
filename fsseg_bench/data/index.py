"""The pair index: which image shows how many pixels of which class. Read once from the masks, then cached."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fsseg_bench.data.cachefile import Arrays, load_arrays, save_arrays
from fsseg_bench.data.decode import sha256
from fsseg_bench.data.lists import Listed, in_order, read_list
from fsseg_bench.data.photos import find_copies, of_photos
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.paths import cache_root
from fsseg_bench.protocol.data_spec import is_list_file
from fsseg_bench.protocol.episode_spec import EACH
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import Copies, Crops, once

_FORMAT = 3
"""Raised when what is kept in the cache changes."""
_ARRAYS = (
    "state",
    "fingerprint",
    "images",
    "image",
    "class",
    "pixels",
    "test",
    "listed",
    "turned",
    "copies",
    "left_out",
)
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
    copies: Copies = field(default_factory=dict)
    """Images whose photo an earlier image is, too (:func:`fsseg_bench.data.photos.find_copies`), to that one; of crops
    a :class:`fsseg_bench.protocol.table.Crops`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images of the training lists that are no part of the index, since their photo is that of an image of the test
    lists with another id, to that image; only with ``train_excludes_test``."""
    test_lines: Sequence[tuple[str, int]] = ()
    """Where the order of the test lists counts and a file gives it: each line's image, and its class or 0 for all."""

    def test_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Novel class to the listed test images with at least ``min_object_pixels`` of it, sorted; maybe none."""
        return self._pairs("test", self.protocol.novel_classes(fold), without=())

    def test_order(self, fold: int) -> tuple[tuple[int, str], ...]:
        """The pairs (novel class, image) of :meth:`test_pairs` in the order of the list files; empty where that does
        not count. The classes of a line without one come as the protocol names them."""
        if not self.test_lines:
            return ()
        pairs = {c: frozenset(images) for c, images in self.test_pairs(fold).items()}
        own = self.protocol.fold_classes(fold)
        lines = ((c, image) for image, listed in self.test_lines for c in ((listed,) if listed else own))
        return tuple(dict.fromkeys((c, image) for c, image in lines if image in pairs.get(c, ())))

    def test_images(self, class_id: int) -> tuple[str, ...]:
        """The same of one class, whichever fold holds it out, if any does."""
        return self._pairs("test", (class_id,), without=())[class_id]

    def train_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Base class to the listed training images with at least ``min_object_pixels`` of it, sorted; maybe none.

        With ``novel_in_train = "drop-image"``, images with any pixel of a novel class are left out, and so are other
        images of the same photo.
        """
        drop = self.protocol.data.novel_in_train == "drop-image"
        without = self.protocol.held_out(fold) if drop else ()
        return self._pairs("train", self.protocol.base_classes(fold), without)

    def validation_pairs(self, fold: int) -> dict[int, tuple[str, ...]]:
        """Validation class to the listed training images with at least ``min_object_pixels`` of it, sorted.

        With ``novel_in_train = "drop-image"``, without those that :meth:`train_pairs` leaves out for novel classes.
        """
        drop = self.protocol.data.novel_in_train == "drop-image"
        classes = map(self.protocol.class_id, self.protocol.validation)
        return self._pairs("train", sorted(classes), self.protocol.novel_classes(fold) if drop else ())

    def training_images(self, fold: int) -> tuple[str, ...]:
        """The images of the training lists that show an object of any class, sorted; less those that ``drop-image``
        leaves out, as of :meth:`train_pairs`."""
        rows = self.frame[self.frame["split"] == "train"]
        if self.protocol.data.novel_in_train == "drop-image":
            novel = self._showing(self.protocol.held_out(fold))
            rows = rows[~self._photos(rows["image"]).isin(self._photos(novel))]
        return tuple(sorted(set(rows["image"])))

    def _pairs(self, split: str, classes: Iterable[int], without: Sequence[int]) -> dict[int, tuple[str, ...]]:
        rows = self.frame[self.frame["split"] == split]
        large = rows[rows["listed"] & (rows["pixels"] >= self.protocol.data.min_object_pixels)]
        large = large[~self._photos(large["image"]).isin(self._photos(self._showing(without)))]
        return {c: tuple(sorted(large.loc[large["class"] == c, "image"])) for c in classes}

    def _showing(self, classes: Sequence[int]) -> pd.Series[str]:
        """The images that show any of the classes."""
        return self.frame.loc[self.frame["class"].isin(list(classes)), "image"]

    def _photos(self, images: pd.Series[str]) -> pd.Series[str]:
        """For each image the first one of its photo."""
        return images.map(lambda image: self.copies.get(image, image)) if self.copies else images

    def remarks(self, folds: Iterable[int]) -> list[str]:
        """What photos with several ids changed, a sentence each; empty where there is none."""
        texts = []
        if self.left_out:
            texts.append(
                f"{_counted(self.left_out, 'training image')} left out: the test lists have the same photo under "
                f"another name ({_example(self.left_out)})"
            )
        for fold in folds if self.protocol.data.novel_in_train == "drop-image" and self.copies else ():
            if dropped := self._dropped(fold):
                texts.append(
                    f"fold {fold}: {_counted(dropped, 'training image')} left out: under another name, the same photo "
                    f"shows a held-out class ({_example(dropped)})"
                )
        if isinstance(self.copies, Crops):
            texts.append("crops of one photo never meet in an episode: a photo is drawn first, then one of its crops")
        elif self.copies:
            by_name = self.protocol.episodes.sampler == "hsnet"
            done = 'episodes.sampler "hsnet" draws names, so that an episode may have a photo twice'
            done = done if by_name else "no episode has a photo twice, and a class has it once"
            texts.append(f"{_counted(self.copies, 'image')} the photo of another one ({_example(self.copies)}): {done}")
        return texts

    def _dropped(self, fold: int) -> dict[str, str]:
        """Training images of a fold that show no novel class, to an image of the same photo that does."""
        novel = set(self._showing(self.protocol.held_out(fold)))
        by_photo = {self.copies.get(image, image): image for image in sorted(novel, reverse=True)}
        train = set(self.frame.loc[self.frame["split"] == "train", "image"]) - novel
        photos = ((image, self.copies.get(image, image)) for image in sorted(train))
        return {image: by_photo[photo] for image, photo in photos if photo in by_photo}


def _counted(images: Mapping[str, str], what: str) -> str:
    return f"{len(images):,} {what}{'s are' if len(images) > 1 else ' is'}"


def _example(images: Mapping[str, str]) -> str:
    image, other = next(iter(images.items()))
    return f"{image} is {other}" + (", for one" if len(images) > 1 else "")


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
    settings += [protocol.home is not None]  # whether copies are looked for
    key = hashlib.sha256(json.dumps(settings, default=vars).encode()).hexdigest()[:32]
    state = source.fingerprint(tuple(dict.fromkeys((*data.train_list, *data.test_list))))
    path = cache_root() / "index" / f"{key}.npz"
    arrays = load_arrays(path, _ARRAYS)
    if arrays is None or str(arrays["state"]) != state:
        arrays = {"state": np.array(state), **_read(source, protocol)}
        save_arrays(path, arrays)
    images, turned = arrays["images"].tolist(), set(arrays["turned"].tolist())
    source.known.turned.update((image, image in turned) for image in images)
    frame = _frame(arrays)
    remarks = [*source.remarks(images), *source.of_no_class(sorted(set(images) - set(frame["image"])))]
    copies, left_out = ({str(image): str(other) for image, other in arrays[key]} for key in ("copies", "left_out"))
    if source.crops:
        copies = Crops(copies)
    walked = protocol.episodes.class_sampling in EACH or protocol.episodes.sampler == "hsnet"
    ordered = walked and any(map(is_list_file, data.test_list))
    lines = in_order(source, data.test_list) if ordered else ()
    return PairIndex(protocol, str(arrays["fingerprint"]), frame, tuple(remarks), copies, left_out, lines)


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
    copies = _copies(source, protocol, train.keys() | test.keys())
    left_out: dict[str, str] = {}
    if data.train_excludes_test:
        tested = once(test, copies)
        same = {image: tested[photo] for image in sorted(train) if (photo := copies.get(image, image)) in tested}
        train = {image: classes for image, classes in train.items() if image not in same}
        left_out = {image: other for image, other in same.items() if image not in test}
        copies = of_photos({image: copies.get(image, image) for image in train.keys() | test.keys()})
    images = sorted(train.keys() | test.keys())
    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        results = pool.map(partial(_facts, source), chunks)
        facts = [fact for chunk in results for fact in chunk]
    # of the package's own protocols, photos are as the papers had them: no need to look at 120,000 headers
    turned = source.turned(images) if source.upright or protocol.home is not None else []
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
    if copies:  # what is drawn and dropped depends on them; without any, the fingerprint is as it always was
        digest.update(f"copies {json.dumps(sorted(copies.items()))}\n".encode())
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
        "copies": np.array(list(copies.items()), dtype=np.str_).reshape(-1, 2),
        "left_out": np.array(list(left_out.items()), dtype=np.str_).reshape(-1, 2),
    }


def _copies(source: Source, protocol: Protocol, images: Iterable[str]) -> dict[str, str]:
    """Images whose photo an earlier one is, too."""
    if protocol.home is not None:
        return find_copies(source, images)
    # the package's own protocols are what papers used, with the copies that these data hold; crops are of photos in all
    return of_photos({image: str(source.photo_file(image)) for image in images}) if source.crops else {}


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
