"""One folder a class, with images and binary masks: the layouts of collections made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import MASK_SUFFIXES, data_files, find_file, folders_in, shown
from fsseg_bench.data.masks import check_mask_size, read_binary_mask, read_grey_mask
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.voc import VocSource, lossy_mask, not_read
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.schema import Must, Range, later

ALL = "all"
"""The only named list: every image of every class."""
CLASS = "{class}"
"""Stands for the class's name."""


def _stays_below(folder: str) -> bool:
    return bool(folder) and not folder.startswith("/") and ".." not in PurePosixPath(folder).parts


_Folder = Annotated[str, Must("a folder below data.root, in which {class} stands for the class", _stays_below)]


@dataclass(frozen=True)
class FolderKeys:
    """The keys of ``[data]`` for one folder a class."""

    images: _Folder = later("{class}/images")
    """The folder of a class's images; ``{class}`` stands for its name."""
    masks: _Folder = later("{class}/masks")
    """The folder of a class's masks; may be that of the images."""
    mask_suffix: str = later("")
    """What a mask's name has behind its image's, before the suffix: ``_mask`` for ``001_mask.png``."""
    mask_threshold: Annotated[int, Range(least=0, most=255)] = later(0)
    """The grey, 1 to 255, from which on a pixel of a mask is the object; colours are turned to grey as Pillow's ``L``
    does. 0: a mask has one value beside 0, or is an error."""

    def images_of(self, name: str) -> str:
        """The folder of the images of class ``name``, below ``data.root``."""
        return self.images.replace(CLASS, name)

    def masks_of(self, name: str) -> str:
        """The folder of its masks."""
        return self.masks.replace(CLASS, name)

    @property
    def together(self) -> bool:
        """Whether images and masks lie in one folder."""
        return self.images == self.masks


class FolderSource(VocSource):
    """``<class>/images/<name>.jpg`` and ``<class>/masks/<name>.png``, or as :class:`FolderKeys` says.

    An image id is ``<class>/<name>``. Images have a suffix of :data:`fsseg_bench.data.decode.IMAGE_SUFFIXES`, masks one
    that keeps values; where both lie in one folder and only the suffix tells them apart, ``.png`` is the mask. Masks
    are read by :func:`fsseg_bench.data.masks.read_binary_mask`, or with ``mask_threshold`` by
    :func:`fsseg_bench.data.masks.read_grey_mask`: there is no void. An image shows the class of its
    folder and, as far as anybody knows, no other.
    """

    keys = FolderKeys
    most_classes = 10_000  # a mask holds one class, so that no byte holds a label value; FSS-1000 has 1,000

    def __init__(self, root: Path, classes: Sequence[str], places: FolderKeys = FolderKeys()) -> None:
        """A reader of ``root``; ``classes`` are the names that stand in the folders of ``places``."""
        super().__init__(root, classes, ("masks",))
        self.places = places
        self._image_suffixes: Sequence[str] = IMAGE_SUFFIXES
        self._mask_suffixes: Sequence[str] = MASK_SUFFIXES
        if places.together and not places.mask_suffix:
            self._image_suffixes = [suffix for suffix in IMAGE_SUFFIXES if suffix != ".png"]
            self._mask_suffixes = (".png",)

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data in ``root``.

        Raises:
            UserError: several classes would share a folder.
        """
        places = protocol.data.options_as(FolderKeys)
        for key in ("images", "masks"):
            if len(protocol.classes) > 1 and CLASS not in getattr(places, key):
                raise UserError(
                    f"{protocol.label}: data.{key} is {getattr(places, key)!r}, without {CLASS}: all "
                    f"{len(protocol.classes)} classes would lie in one folder"
                )
        return cls(root, protocol.classes, places)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """The images of the first class."""
        return (f"{protocol.data.options_as(FolderKeys).images_of(protocol.classes[0])}/",)

    @classmethod
    def id_of_name(cls, name: str, class_name: str) -> str:
        """The last two parts of a path; a bare name in the class's folder."""
        parts = PurePosixPath(name).parts
        return f"{class_name}/{name}" if len(parts) == 1 else "/".join(parts[-2:]) if len(parts) > 2 else name

    def list_file(self, list_name: str) -> Path | None:
        """None: the only named list is all that lies in the folders."""
        return None

    def listed(self, list_name: str) -> Iterable[str]:
        """As :meth:`Source.listed`: all images. It is an error when two names of a class differ in the suffix alone."""
        if list_name != ALL:
            raise unknown("list", list_name, [ALL, "a file that ends in .txt"], where=str(self.root))
        return self._files

    def image_path(self, image_id: str) -> Path:
        """As :meth:`Source.image_path`."""
        if image_id not in self._files:
            name, _, stem = image_id.partition("/")
            suffixes = ", ".join(self._image_suffixes)
            raise UserError(f"{self.root / self.places.images_of(name) / stem}: no such image ({suffixes})")
        return self._files[image_id]

    def expected_mask(self, image_id: str) -> Path:
        """Where the mask file belongs, whether or not it is there."""
        name, _, stem = image_id.partition("/")
        return self.root / self.places.masks_of(name) / f"{stem}{self.places.mask_suffix}.png"

    def find_mask(self, image_id: str) -> Path | None:
        """The mask file; None where there is none.

        Raises:
            UserError: there are two.
        """
        path = self.expected_mask(image_id)
        return find_file(path.parent, path.stem, self._mask_suffixes)

    def mask_path(self, image_id: str) -> Path:
        """As :meth:`VocSource.mask_path`; an error names the image too."""
        if path := self.find_mask(image_id):
            return path
        path = self.expected_mask(image_id)
        what = "" if self.places.together and not self.places.mask_suffix else lossy_mask(path.parent, path.stem)
        raise UserError(
            f"{path}: no such mask, but there is {self.image_path(image_id)}; {what or 'add it or remove the image'}"
        )

    def remarks(self, images: Iterable[str]) -> list[str]:
        """Files beside the images and masks that are not read, and masks without an image."""
        places = {name: (self.places.images_of(name), self.places.masks_of(name)) for name in self.classes}
        kinds: dict[Path, Sequence[str]] = {}
        for folders in places.values():
            for folder, suffixes in zip(folders, (self._image_suffixes, self._mask_suffixes), strict=True):
                kinds[self.root / folder] = (*kinds.get(self.root / folder, ()), *suffixes)
        alone = self.masks_alone()
        names = [f"masks without an image are not used: {shown([p.relative_to(self.root) for p in alone])}"]
        inside = [sub for folder in kinds for sub in folders_in(folder) if sub not in kinds and data_files(sub)]
        deep = [f"folders inside are not looked into: {shown([p.relative_to(self.root) for p in inside])}"]
        said = [*(names if alone else []), *(deep if inside else [])]
        return [*Source.remarks(self, images), *said, *not_read(kinds)]

    def masks_alone(self) -> list[Path]:
        """The files in the folders of masks that are no image's mask."""
        used = {self.find_mask(image) for image in self._files}
        return [
            path
            for folder in dict.fromkeys(self.places.masks_of(name) for name in self.classes)
            for path in data_files(self.root / folder, self._mask_suffixes)
            if path not in used and (not self.places.together or path.stem.endswith(self.places.mask_suffix))
        ]

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """As :meth:`Source.class_masks`: empty for each class but that of the folder; there is no void."""
        shown_class, mask = self._object(image_id)
        masks = np.zeros((len(class_ids), *mask.shape), dtype=np.uint8)
        for place, class_id in enumerate(class_ids):
            if class_id == shown_class:
                masks[place] = mask
        return masks

    def class_pixels(self, image_id: str) -> dict[int, int]:
        """As :meth:`Source.class_pixels`."""
        shown_class, mask = self._object(image_id)
        pixels = int(np.count_nonzero(mask))
        return {shown_class: pixels} if pixels else {}

    def of_no_class(self, images: Sequence[str]) -> list[str]:
        """As :meth:`Source.of_no_class`: here each image was put into the folder of a class."""
        if not images:
            return []
        threshold = self.places.mask_threshold
        why = f"masks without a grey from {threshold} on (data.mask_threshold)" if threshold else "empty masks"
        return [f"images that show nothing of their class and are used nowhere, {why}: {shown(images)}"]

    @property
    def _reading(self) -> str:
        return f"grey from {self.places.mask_threshold}" if self.places.mask_threshold else ""

    def _object(self, image_id: str) -> tuple[int, UInt8]:
        """The class of an image and (H, W) where it is: 1, elsewhere 0."""
        image, path = self.files(image_id)
        data, threshold = self.read(image_id, path, "mask"), self.places.mask_threshold
        mask = read_grey_mask(path, threshold, data) if threshold else read_binary_mask(path, data)
        check_mask_size(path, mask, image, upright=self.upright)
        return self.classes.index(image_id.partition("/")[0]) + 1, mask

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Image id to file."""
        files: dict[str, Path] = {}
        suffix = self.places.mask_suffix
        for name in self.classes:
            folder = self.root / self.places.images_of(name)
            images = data_files(folder, self._image_suffixes)
            if self.places.together and suffix:
                images = [path for path in images if not path.stem.endswith(suffix)]
            if not images:
                inside = [sub.name for sub in folders_in(folder) if data_files(sub)]
                what = f"move those of {', '.join(inside[:3])} into it" if inside else "add some"
                raise UserError(
                    f"{folder}: has no images ({', '.join(self._image_suffixes)}); {what}, or take {name!r} off the "
                    "classes"
                )
            for path in images:
                other = files.setdefault(f"{name}/{path.stem}", path)
                if other != path:
                    raise UserError(f"{path} and {other.name} have the same name but for the suffix; rename one")
        return files
