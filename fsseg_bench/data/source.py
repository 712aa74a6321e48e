"""The contract of a data source: images, class masks, lists."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from fsseg_bench import plugins
from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import image_orientation, image_size, read_file, read_image, sha256
from fsseg_bench.data.exif import STORED
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.data_spec import is_list_file
from fsseg_bench.protocol.source import SourceKind
from fsseg_bench.protocol.spec import Protocol

_MOST_NAMED = 3


class Content(NamedTuple):
    """What identifies an image and its labels, wherever they lie."""

    image: str
    """SHA-256 (hex) of the image's file, or of its pixels where there is no file that is the same everywhere."""
    label: str
    """The same of its labels; empty where they were not asked for."""
    files: Mapping[Path, str]
    """SHA-256 (hex) of each file that decoding will read."""


@dataclass
class Known:
    """What a source has told of its content so far; images are keyed by id and whether with labels."""

    contents: dict[tuple[str, bool], Content] = field(default_factory=dict)
    decoded: set[tuple[str, bool]] = field(default_factory=set)
    """Those that were decoded once, and are sound."""
    files: dict[Path, str] = field(default_factory=dict)
    """SHA-256 (hex) of the files behind them: a run was planned with these bytes, and no others count in it."""
    turned: dict[str, bool] = field(default_factory=dict)
    """Whether EXIF says that an image is not stored upright."""


def _unpickled(module: str, name: str, folder: str | None, state: Mapping[str, Any]) -> Source:
    cls = plugins.class_at(module, name, folder)
    source: Source = object.__new__(cls)
    vars(source).update(state)
    return source


class Source(SourceKind, ABC):
    """Images with class masks, read one at a time. Safe to pickle (loader workers) and for threads.

    What the class says of itself is in :class:`fsseg_bench.protocol.source.SourceKind`.
    """

    root: Path
    """The folder of the data set."""
    classes: tuple[str, ...]
    """Class names; the label value of a class is its position, from 1."""
    upright: bool = False
    """Whether images are turned upright as their EXIF orientation says, by the protocol's ``image.orientation``."""

    crops: ClassVar[bool] = False
    """Whether images are crops of photos (:meth:`photo_file`), so that several may be of one photo and yet differ."""

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        """A reader of ``root``; ``classes`` are all labelled classes."""
        self.root = root
        self.classes = tuple(classes)

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data.

        Args:
            protocol: has the source's own keys as ``protocol.data.options_as(...)``.
            root: the folder that has what :meth:`needs` says; of synthetic images a folder in the cache, which may not
                exist yet.

        Raises:
            UserError: the data cannot be used; says what is wrong, where, and what to do.
        """
        return cls(root, protocol.classes)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """What a folder must hold to be taken for the data: files, and folders with a slash behind their names.

        One of several is ``"a or b"``; names may be patterns (``*/labels.json``).
        """
        return ()

    def __reduce__(self) -> tuple[Any, ...]:
        # a user's folder is no package yet in a loader's process that was not forked from this one
        return _unpickled, (*plugins.place_of_class(type(self)), self.__getstate__())

    @cached_property
    def known(self) -> Known:
        """What was read of it in this process; see :func:`fsseg_bench.data.open.examine`."""
        return Known()

    def read(self, image_id: str, path: Path, kind: Literal["image", "mask"]) -> bytes:
        """The bytes of an image's file, or of its mask's, from which it is decoded.

        Raises:
            UserError: missing, unreadable, or not what it was when the run was planned.
        """
        data = read_file(path, kind)
        planned = self.known.files.get(path)
        seen = self.known.contents
        if planned is None and ((image_id, True) in seen or (kind == "image" and (image_id, False) in seen)):
            raise UserError(
                f"{path}: the {kind} of {image_id} was another file when this run was planned, so that its counts "
                "would be those of another run; take the new file away and give the command again"
            )
        if planned is not None and sha256(data) != planned:
            raise UserError(
                f"{path}: the {kind} has changed since this run was planned (SHA-256 then {planned[:8]}, now "
                f"{sha256(data)[:8]}), so that its counts would be those of another run. Put the file back and give "
                "the command again; with the file as it is now, the command begins another run"
            )
        return data

    def content(self, image_id: str, *, labels: bool) -> Content:
        """What identifies an image and, with ``labels``, its labels, read now.

        Raises:
            UserError: a file is missing or unreadable, or as :meth:`label_digest`.
        """
        path = self.image_path(image_id)
        image = sha256(read_file(path, "image"))
        return Content(image, self.label_digest(image_id) if labels else "", {path: image})

    def ids(self, list_name: str) -> tuple[str, ...]:
        """Image ids of a list, sorted, without repetition. The list is a name or a list file (``.txt``).

        Raises:
            UserError: as :meth:`listed` and :func:`fsseg_bench.data.lists.read_list_file`.
        """
        if is_list_file(list_name):
            from fsseg_bench.data.lists import read_list_file

            return tuple(read_list_file(self, Path(list_name)))
        return tuple(sorted(set(self.listed(list_name))))

    @abstractmethod
    def listed(self, list_name: str) -> Iterable[str]:
        """Image ids of a named list, in any order.

        Raises:
            UserError: no such list; names the file looked for and what to do.
        """

    def list_file(self, list_name: str) -> Path | None:
        """The file of a named list, for messages; None where there is none."""
        return None

    def lists_to_add(self, protocol: Protocol) -> Mapping[Path, str]:
        """Lists that a part of the data set lacks, with the text that stands in for them: file to text."""
        return {}

    @abstractmethod
    def files(self, image_id: str) -> tuple[Path, ...]:
        """The image's file and, behind it, those that its labels are read from.

        Raises:
            UserError: there is no such image, or no mask of it; names the file.
        """

    def image_path(self, image_id: str) -> Path:
        """The image's file.

        Raises:
            UserError: there is no such image.
        """
        return self.files(image_id)[0]

    def photo_file(self, image_id: str) -> Path | None:
        """The file that holds this photo and nothing else; None where the source makes its images in another way.

        Two such files tell whether two ids are one photo (:func:`fsseg_bench.data.photos.find_copies`).

        Raises:
            UserError: there is no such image.
        """
        return self.image_path(image_id) if type(self).image is Source.image else None

    def doubts(self, test_images: Iterable[str]) -> list[str]:
        """What else ``data verify`` should call a problem, each in a sentence that names a file."""
        return []

    def turned(self, images: Iterable[str]) -> list[str]:
        """Those of ``images`` that are not stored upright, by the EXIF orientation of their files, sorted.

        Files that are missing or no images are left out: who decodes them says so.
        """
        known = self.known.turned
        images = sorted(set(images)) if not self.synthetic else []
        for image_id in images:
            with suppress(UserError):
                if image_id not in known:
                    known[image_id] = image_orientation(self.image_path(image_id)) != STORED
        return [image_id for image_id in images if known.get(image_id)]

    def remarks(self, images: Iterable[str]) -> list[str]:
        """What was left out of these images' labels, or read otherwise than as it is written: a sentence each, with
        counts. ``data init``, ``data verify`` and the records of runs say it."""
        turned = self.turned(images)
        if not turned:
            return []
        shown = ", ".join(turned[:_MOST_NAMED]) + (", ..." if len(turned) > _MOST_NAMED else "")
        done = "turned upright" if self.upright else "taken as stored, not upright as viewers show them"
        value = "upright" if self.upright else "stored"
        return [
            f"photos with an EXIF orientation (the camera was held sideways or upside down): {len(turned)} ({shown}); "
            f'they are {done} (image.orientation = "{value}")'
        ]

    def of_no_class(self, images: Sequence[str]) -> list[str]:
        """What to say of ``images``, those of the lists whose labels show none of the classes: a sentence each."""
        return []

    def has_image(self, image_id: str) -> bool:
        """Whether there is such an image, with its file."""
        try:
            return self.image_path(image_id).is_file()
        except UserError:
            return False

    def image(self, image_id: str) -> UInt8:
        """(H, W, 3) uint8, RGB; upright where :attr:`upright` says so.

        Raises:
            UserError: the file is missing or cannot be decoded; names it.
        """
        path = self.image_path(image_id)
        return read_image(path, self.read(image_id, path, "image"), upright=self.upright)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """(W, H) of :meth:`image` in pixels, from the file's header.

        Raises:
            UserError: as :meth:`image`.
        """
        return image_size(self.image_path(image_id), upright=self.upright)

    def label_size(self, image_id: str) -> tuple[int, int]:
        """(W, H) of the labels in pixels, whether or not they fit the image.

        Raises:
            UserError: the mask is missing or wrong.
        """
        height, width = self.class_masks(image_id, (1,))[0].shape
        return width, height

    @abstractmethod
    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """(len(class_ids), H, W) uint8 at native size: 1 = the class, 0 = not, 255 = void.

        Raises:
            UserError: mask missing, of another size than the image, or with labels outside the classes.
        """

    def class_pixels(self, image_id: str) -> dict[int, int]:
        """Native pixels of each class that the image shows (class id to count, no zeros, no void).

        Raises:
            UserError: as :meth:`class_masks`.
        """
        masks = self.class_masks(image_id, range(1, len(self.classes) + 1))
        counts = (masks == 1).sum(axis=(1, 2)).tolist()
        return {class_id: count for class_id, count in enumerate(counts, start=1) if count}

    def fingerprint(self, lists: Sequence[str]) -> str:
        """A digest that changes when the files behind ``lists`` change: names, sizes and times.

        It tells whether something cached is still good. It changes too when files are copied: what identifies
        the data themselves is :meth:`label_digest`.

        Raises:
            UserError: a list or a file is missing.
        """
        digest = hashlib.sha256()
        for name in lists:
            images = self.ids(name)
            digest.update(f"{name} {len(images)}\n".encode())
            place = name if is_list_file(name) else self.list_file(name) or name
            for image_id in images:
                try:
                    for path in self.files(image_id):
                        facts = path.stat()
                        line = f"{os.path.relpath(path, self.root)} {facts.st_size} {facts.st_mtime_ns}\n"
                        digest.update(line.encode())
                except UserError as error:
                    raise UserError(f"{error} (the list {place} names it)") from None
                except OSError as error:
                    link = Path(error.filename or "")
                    what = f"{link} is a link to {link.readlink()}, which is not there" if link.is_symlink() else ""
                    raise UserError(f"{place}: names {image_id[:80]!r}: {what or error.strerror or error}") from None
        return digest.hexdigest()

    def image_digest(self, image_id: str) -> str:
        """What identifies an image's file wherever it lies: its size in bytes (reading all would take minutes)."""
        return str(self.image_path(image_id).stat().st_size)

    def label_digest(self, image_id: str) -> str:
        """A digest (hex) of the labels of one image, the same wherever the data lie.

        Raises:
            UserError: as :meth:`class_masks`.
        """
        return hashlib.sha256(self.class_masks(image_id, range(1, len(self.classes) + 1)).tobytes()).hexdigest()
