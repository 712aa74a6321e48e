"""Images and masks in COCO's official layout, from the instance annotations."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.coco_files import (
    NEEDED,
    Images,
    annotation_file,
    find_images,
    places_of_annotations,
    places_of_images,
)
from fsseg_bench.data.coco_notes import NOWHERE, counted, sentences
from fsseg_bench.data.decode import IMAGE_SUFFIXES, check_size
from fsseg_bench.data.files import find_file, is_inside
from fsseg_bench.data.instances import Instances, Region, load_instances
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.schema import later

_NAME = re.compile(r"COCO_(?P<list>[a-z]+[0-9]{4})_[0-9]{12}")
_SHOWN = 3
Crowds = Literal["void", "object"]
_LOADING = threading.Lock()
"""Held while an instance file is loaded, so that threads load it once."""


@dataclass(frozen=True)
class CocoKeys:
    """The keys of ``[data]`` for COCO's layout."""

    year: Literal[2014, 2017, 0]
    """The edition of the official layout; 0 where the files' names hold no year."""
    crowds: Crowds = later("void")
    """What regions with ``iscrowd`` 1 are: void for their class, or objects of it like all others."""
    crop: Literal["none", "object"] = later("none")
    """``object``: an image is the box of one object, and an annotation a part of it, with the object's number in the
    image (``object``) and its box (``object_bbox``): side information, of the query too."""


@dataclass(frozen=True)
class Split:
    """One list: its annotations and what the protocol calls them."""

    path: Path
    """The file of the annotations."""
    instances: Instances
    images: Images
    numbers: dict[str, int]
    """Image id to its number in ``instances``."""
    classes: dict[int, int]
    """COCO category id to class id."""
    crowds: Crowds

    def regions(self, image_id: str) -> Iterator[tuple[int, Region]]:
        """Class id and region, for the protocol's classes alone."""
        read = self.instances.united if self.crowds == "object" else self.instances.regions
        for region in read(self.numbers[image_id]):
            if class_id := self.classes.get(region.category):
                yield class_id, region


class CocoSource(Source):
    """``annotations/instances_<list><year>.json`` and images in ``<list><year>/``; no masks are written.

    Without a year (0) the names are ``instances_<list>.json`` and ``<list>/``, or those that labelling tools export
    (:mod:`fsseg_bench.data.coco_files`). Images may also lie in ``images/<list><year>/``, in ``images/`` or beside
    ``annotations``. An image id is ``<list><year>/`` and the file's stem: ``val2017/000000000139``. A class mask is the
    union of the class's single instances; its crowd regions are void where no single instance of it lies, or objects
    like all others. Categories that the protocol does not name are background.
    """

    keys = CocoKeys
    most_classes = 10_000  # regions are drawn class by class, so that no byte holds a label value
    trains_like_coco = True
    numbered = True
    crops = False

    def __init__(self, root: Path, classes: Sequence[str], year: int, crowds: Crowds = "void") -> None:
        """A reader of ``root``, the folder that holds ``annotations``; ``classes`` are category names."""
        super().__init__(root, classes)
        self.year = year
        self.crowds = crowds
        self._splits: dict[str, Split] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the annotations: another process opens them from the cache in a moment."""
        return {**self.__dict__, "_splits": {}}

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data in ``root``."""
        keys = protocol.data.options_as(CocoKeys)
        if keys.crop == "object":
            from fsseg_bench.data.coco_crops import CropSource

            return CropSource(root, protocol.classes, keys.year, keys.crowds)
        return cls(root, protocol.classes, keys.year, keys.crowds)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """The folder of the annotations, or what other tools export in its place."""
        return ("annotations/",) if protocol.data.options_as(CocoKeys).year else (NEEDED,)

    @classmethod
    def side_information(cls, options: Any) -> str | None:
        """The box of the query's object, where images are cut to it."""
        if isinstance(options, CocoKeys) and options.crop == "object":
            return "the query is cut to the annotated box of its object"
        return None

    @classmethod
    def id_of_name(cls, name: str, class_name: str) -> str:
        """The last two parts of a path; the folder of a name that says its list."""
        parts = PurePosixPath(name).parts
        match = _NAME.fullmatch(name)
        return f"{match['list']}/{name}" if match else "/".join(parts[-2:]) if len(parts) > 2 else name

    def list_file(self, list_name: str) -> Path | None:
        """The annotations of a list: ``annotations/instances_<list_name><year>.json`` where there are none."""
        return self._annotations(f"{list_name}{self.year or ''}")

    def listed(self, list_name: str) -> Iterable[str]:
        """As :meth:`Source.listed`, all of the list's annotations, whose image files must be there."""
        return self._split(f"{list_name}{self.year or ''}").numbers

    def has_image(self, image_id: str) -> bool:
        """Whether the annotations have the image; those that are damaged are an error, as missing image files are."""
        folder = image_id.partition("/")[0]
        return self._annotations(folder).is_file() and image_id in self._split(folder).numbers

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The image file (whether it exists is checked when the list is loaded) and the annotations of its list."""
        split, number = self._find(image_id)
        return split.images.folder / split.images.files[number], split.path

    def remarks(self, images: Iterable[str]) -> list[str]:
        """As :meth:`Source.remarks`: what the annotations of these images hold that is left out or read otherwise."""
        images = list(images)
        found = super().remarks(images)
        by_split: dict[str, list[str]] = {}
        for image_id in images:
            by_split.setdefault(image_id.partition("/")[0], []).append(image_id)
        for folder, some in sorted(by_split.items()):
            split = self._split(folder)
            where = split.path.relative_to(self.root)
            found += [f"{where}: {text}" for text in _remarks(split, {split.numbers[i] for i in some})]
        return found

    def label_size(self, image_id: str) -> tuple[int, int]:
        """As :meth:`Source.label_size`, as the annotations have it."""
        split, number = self._find(image_id)
        height, width = split.instances.sizes[number].tolist()
        return width, height

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """As :meth:`Source.class_masks`: void is a crowd of the class itself where no single instance lies."""
        split, number = self._find(image_id)
        height, width = self._checked_size(image_id)
        masks = np.zeros((len(class_ids), height, width), dtype=np.uint8)
        regions = list(split.regions(image_id))
        for mask, class_id in zip(masks, class_ids, strict=True):
            # Crowds first: a single instance wins where both lie.
            regions_of_class = sorted((r for c, r in regions if c == class_id), key=lambda region: not region.crowd)
            for region in regions_of_class:
                mask[split.instances.draw(number, region)] = VOID if region.crowd else 1
        return masks

    def class_pixels(self, image_id: str) -> dict[int, int]:
        """As :meth:`Source.class_pixels`, from the annotations alone."""
        regions = self._find(image_id)[0].regions(image_id)
        return dict(sorted((class_id, region.pixels) for class_id, region in regions if not region.crowd))

    def label_digest(self, image_id: str) -> str:
        """SHA-256 (hex) of the image's size and of its regions of the protocol's classes."""
        split, number = self._find(image_id)
        digest = hashlib.sha256(str(split.instances.sizes[number].tolist()).encode())
        # by class, not by category: another order of the categories in the file is not another label
        for class_id, region in sorted(split.regions(image_id), key=lambda pair: (pair[0], pair[1].crowd)):
            digest.update(f"\n{class_id} {int(region.crowd)} ".encode() + region.counts)
        return digest.hexdigest()

    def _find(self, image_id: str) -> tuple[Split, int]:
        split = self._split(image_id.partition("/")[0])
        if image_id not in split.numbers:
            raise UserError(f"{split.path}: no image {image_id!r}")
        return split, split.numbers[image_id]

    def _annotations(self, folder: str) -> Path:
        if self.year:
            return places_of_annotations(self.root, folder)[0]
        return annotation_file(self.root, folder)

    def _split(self, folder: str) -> Split:
        """The list whose images are in ``folder``, loaded on first use."""
        if folder not in self._splits:
            with _LOADING:
                if folder not in self._splits:
                    self._splits[folder] = self._load(folder)
        return self._splits[folder]

    def _load(self, folder: str) -> Split:
        path = self._annotations(folder)
        instances = load_instances(path, crops=self.crops)
        known = {name: category for category, name in instances.categories.items()}
        classes = {}
        for class_id, name in enumerate(self.classes, start=1):
            if name not in known:
                raise unknown("category", name, known, where=f"{path}: a class of the protocol")
            classes[known[name]] = class_id
        images = find_images(places_of_images(self.root, folder, path), instances.names)
        if images.missing:
            raise UserError(_missing(images, path))
        numbers: dict[str, int] = {}
        for number, file in enumerate(images.files):
            photo = f"{folder}/{PurePosixPath(file).with_suffix('')}"
            other = numbers.setdefault(self._id(photo, instances, number), number)
            if other != number:
                raise UserError(_alike(images, instances.names, other, number, path))
        return Split(path, instances, images, numbers, classes, self.crowds)

    def _checked_size(self, image_id: str) -> tuple[int, int]:
        """(H, W), after a check that the image file has the size of its annotations."""
        split, number = self._find(image_id)
        height, width = split.instances.sizes[number].tolist()
        image = self.image_path(image_id)
        check_size(f"{split.path} says", split.instances.photo_size(number), image, upright=self.upright)
        return height, width

    def _id(self, photo: str, instances: Instances, number: int) -> str:
        """The id of image ``number``, whose file without its suffix is ``photo``."""
        return photo


def _missing(images: Images, path: Path) -> str:
    """Which images are not where all the others are."""
    count, total = len(images.missing), len(images.files)
    them, more = (
        "them",
        f" and {count - 1:,} more ({', '.join(images.missing[1:_SHOWN])}{', ...' * (count > _SHOWN)})",
    )
    if count == 1:
        them, more = "it", ""
    stem = str(PurePosixPath(images.missing[0]).with_suffix(""))
    other = find_file(images.folder, stem, IMAGE_SUFFIXES) if is_inside(stem) else None
    hint = f" (there is {other.name}; the annotations must name the file with its suffix)" if other else ""
    there = f"; the other {total - count:,} are there" if count < total else ""
    return (
        f"{images.folder / images.missing[0]}: no such image{hint}{more}, but {path} lists {total:,} images{there}; "
        f"put {them} into {images.folder}, or take {them} out of the annotations"
    )


def _alike(images: Images, names: Sequence[str], first: int, second: int, path: Path) -> str:
    if images.files[first] == images.files[second]:
        file = images.folder / images.files[first]
        return f"{path}: the images {names[first]!r} and {names[second]!r} would both be {file}; mend their file_name"
    return f"{path}: {names[first]} and {names[second]} have the same name but for the suffix; rename one"


def _remarks(split: Split, numbers: set[int]) -> list[str]:
    names = {category: name for category, name in split.instances.categories.items() if category in split.classes}
    notes = [note for note in split.instances.notes if note.image in numbers or note.image == NOWHERE]
    found = sentences(notes, names, split.crowds)
    if respelled := [number for number in sorted(split.images.respelled) if number in numbers]:
        first = respelled[0]
        found.append(
            f"{len(respelled):,} image{'s' if len(respelled) > 1 else ''} found by another spelling of the name: "
            f"'{split.instances.names[first]}' is {split.images.respelled[first]}"
        )
    others = Counter(
        {
            name: len(numbers.intersection(split.instances.images_of(category).tolist()))
            for category, name in split.instances.categories.items()
            if category not in split.classes
        }
    )
    if others := +others:
        found.append(f"categories that the protocol does not name are background; their images: {counted(others)}")
    return found
