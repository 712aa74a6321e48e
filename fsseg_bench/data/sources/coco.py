"""Images and masks in COCO's official layout, from the instance annotations."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.decode import image_size
from fsseg_bench.data.instances import Instances, Region, load_instances
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.schema import later

_NAME = re.compile(r"COCO_(?P<list>[a-z]+[0-9]{4})_[0-9]{12}")
_LOADING = threading.Lock()
"""Held while an instance file is loaded, so that threads load it once."""


@dataclass(frozen=True)
class CocoKeys:
    """The keys of ``[data]`` for COCO's layout."""

    year: Literal[2014, 2017, 0]
    """The edition of the official layout; 0 where the files' names hold no year."""
    crowds: Literal["void", "object"] = later("void")
    """What regions with ``iscrowd`` are: void for their class, or objects of it like all others."""


@dataclass(frozen=True)
class _Split:
    """One list: its annotations and what the protocol calls them."""

    instances: Instances
    images: Path
    """The folder of the images."""
    numbers: dict[str, int]
    """Image id to its number in ``instances``."""
    classes: dict[int, int]
    """COCO category id to class id."""

    def regions(self, image_id: str) -> Iterator[tuple[int, Region]]:
        """Class id and region, for the protocol's classes alone."""
        for region in self.instances.regions(self.numbers[image_id]):
            if class_id := self.classes.get(region.category):
                yield class_id, region


class CocoSource(Source):
    """``annotations/instances_<list><year>.json`` and images in ``<list><year>/``; no masks are written.

    Without a year (0) the names are ``instances_<list>.json`` and ``<list>/``. Images may also lie in
    ``images/<list><year>/``, in ``images/`` or beside ``annotations``. An image id is ``<list><year>/`` and the
    file's stem: ``val2017/000000000139``. A class mask is the union of the class's single instances; its crowd
    regions are void where no single instance of it lies. Categories that the protocol does not name are background.
    """

    keys = CocoKeys
    most_classes = 10_000  # regions are drawn class by class, so that no byte holds a label value
    trains_like_coco = True
    numbered = True

    def __init__(self, root: Path, classes: Sequence[str], year: int) -> None:
        """A reader of ``root``, the folder that holds ``annotations``; ``classes`` are category names."""
        super().__init__(root, classes)
        self.year = year
        self._splits: dict[str, _Split] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the annotations: another process opens them from the cache in a moment."""
        return {**self.__dict__, "_splits": {}}

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data in ``root``."""
        return cls(root, protocol.classes, protocol.data.options_as(CocoKeys).year)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """The folder of the annotations."""
        return ("annotations/",)

    @classmethod
    def id_of_name(cls, name: str, class_name: str) -> str:
        """The last two parts of a path; the folder of a name that says its list."""
        parts = PurePosixPath(name).parts
        match = _NAME.fullmatch(name)
        return f"{match['list']}/{name}" if match else "/".join(parts[-2:]) if len(parts) > 2 else name

    def list_file(self, list_name: str) -> Path | None:
        """``annotations/instances_<list_name><year>.json``, whether or not it is there."""
        return self._annotations(f"{list_name}{self.year or ''}")

    def listed(self, list_name: str) -> Iterable[str]:
        """As :meth:`Source.listed`, all of ``instances_<list_name><year>.json``, whose image files must be there."""
        return self._split(f"{list_name}{self.year or ''}").numbers

    def has_image(self, image_id: str) -> bool:
        """Whether the annotations have the image; those that are damaged are an error, as missing image files are."""
        folder = image_id.partition("/")[0]
        return self._annotations(folder).is_file() and image_id in self._split(folder).numbers

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The image file (whether it exists is checked when the list is loaded) and the annotations of its list."""
        split, number = self._find(image_id)
        return split.images / split.instances.names[number], self._annotations(image_id.partition("/")[0])

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

    def _find(self, image_id: str) -> tuple[_Split, int]:
        split = self._split(image_id.partition("/")[0])
        if image_id not in split.numbers:
            raise UserError(f"{self._annotations(image_id.partition('/')[0])}: no image {image_id!r}")
        return split, split.numbers[image_id]

    def _annotations(self, folder: str) -> Path:
        return self.root / "annotations" / f"instances_{folder}.json"

    def _split(self, folder: str) -> _Split:
        """The list whose images are in ``folder``, loaded on first use."""
        if folder not in self._splits:
            with _LOADING:
                if folder not in self._splits:
                    self._splits[folder] = self._load(folder)
        return self._splits[folder]

    def _load(self, folder: str) -> _Split:
        path = self._annotations(folder)
        instances = load_instances(path)
        known = {name: category for category, name in instances.categories.items()}
        classes = {}
        for class_id, name in enumerate(self.classes, start=1):
            if name not in known:
                raise unknown("category", name, known, where=f"{path}: a class of the protocol")
            classes[known[name]] = class_id
        images = self._image_folder(folder, instances.names)
        numbers = {f"{folder}/{PurePosixPath(name).with_suffix('')}": i for i, name in enumerate(instances.names)}
        if len(numbers) < len(instances.names):
            raise UserError(f"{path}: two images have the same name but for the suffix; rename one")
        return _Split(instances, images, numbers, classes)

    def _image_folder(self, folder: str, names: Sequence[str]) -> Path:
        """The first place that has the first image, without any the official one; it must have all of them."""
        places = [self.root / folder, self.root / "images" / folder, self.root / "images", self.root]
        images = next((place for place in places if names and (place / names[0]).is_file()), places[0])
        present = {path.name for path in images.iterdir()} if images.is_dir() else set()
        missing = [name for name in names if name not in present and not (images / name).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{images / missing[0]}: no such image{more}, but {self._annotations(folder)} lists "
                f"{len(names)} images; put them into {images}"
            )
        return images

    def _checked_size(self, image_id: str) -> tuple[int, int]:
        """(H, W), after a check that the image file has the size of its annotations."""
        split, number = self._find(image_id)
        height, width = split.instances.sizes[number].tolist()
        path = self.image_path(image_id)
        if (found := image_size(path)) != (width, height):
            raise UserError(
                f"{path} is {found[0]} x {found[1]} pixels, but {self._annotations(image_id.partition('/')[0])} "
                f"says {width} x {height}; a mask must have the size of its image"
            )
        return height, width
