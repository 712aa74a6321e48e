"""One folder a class, with images and binary masks: the layout of a collection made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import IMAGE_SUFFIXES, read_binary_mask
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.source import NoKeys
from fsseg_bench.protocol.spec import Protocol

ALL = "all"
"""The only named list: every image of every class."""


class FolderSource(VocSource):
    """``<class>/images/<name>.jpg`` (or ``.jpeg``, ``.png``) and ``<class>/masks/<name>.png``.

    An image id is ``<class>/<name>``. Masks are read by :func:`fsseg_bench.data.decode.read_binary_mask`: there is no
    void. An image shows the class of its folder and, as far as anybody knows, no other.
    """

    keys = NoKeys

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        """A reader of ``root``; ``classes`` are the names of folders in it."""
        super().__init__(root, classes, ("masks",))

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data in ``root``."""
        return cls(root, protocol.classes)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """The images of the first class."""
        return (f"{protocol.classes[0]}/images/",)

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
            raise UserError(f"{self.root / name / 'images' / stem}: no such image (.jpg, .jpeg or .png)")
        return self._files[image_id]

    def expected_mask(self, image_id: str) -> Path:
        """Where the mask file belongs, whether or not it is there."""
        name, _, stem = image_id.partition("/")
        return self.root / name / "masks" / f"{stem}.png"

    def mask_path(self, image_id: str) -> Path:
        """As :meth:`VocSource.mask_path`; an error names the image too."""
        path = self.expected_mask(image_id)
        if not path.is_file():
            raise UserError(
                f"{path}: no such mask, but there is {self.image_path(image_id)}; add it or remove the image"
            )
        return path

    def _values(self, image_id: str) -> UInt8:
        class_id = self.classes.index(image_id.partition("/")[0]) + 1
        path = self.mask_path(image_id)
        return read_binary_mask(path, self.read(image_id, path, "mask")) * np.uint8(class_id)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Image id to file."""
        files: dict[str, Path] = {}
        for name in self.classes:
            folder = self.root / name / "images"
            found = sorted(folder.iterdir()) if folder.is_dir() else []
            images = [path for path in found if path.suffix in IMAGE_SUFFIXES]
            if not images:
                raise UserError(
                    f"{folder}: has no images (.jpg, .jpeg, .png); add some, or take {name!r} off the classes"
                )
            for path in images:
                other = files.setdefault(f"{name}/{path.stem}", path)
                if other != path:
                    raise UserError(f"{path} and {other.name} have the same name but for the suffix; rename one")
        return files
