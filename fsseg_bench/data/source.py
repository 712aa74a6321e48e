"""The contract of a data source: images, class masks, lists."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.data.files import read_file, sha256
from fsseg_bench.errors import UserError

UInt8 = npt.NDArray[np.uint8]

VOID = 255
"""The mask value of pixels that count nowhere."""


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

    def has(self, image_id: str, kind: Literal["image", "mask"]) -> bool:
        """Whether the content of the image, or of its mask, was told."""
        return (image_id, True) in self.contents or (kind == "image" and (image_id, False) in self.contents)


class Source(ABC):
    """Images with class masks, read one at a time. Safe to pickle (loader workers) and for threads."""

    root: Path
    """The folder of the data set."""
    classes: tuple[str, ...]
    """Class names; the label value of a class is its position, from 1."""

    @cached_property
    def known(self) -> Known:
        """What was read of it in this process; see :func:`fsseg_bench.data.content.examine`."""
        return Known()

    def read(self, image_id: str, path: Path, kind: Literal["image", "mask"]) -> bytes:
        """The bytes of an image's file, or of its mask's, from which it is decoded.

        Raises:
            UserError: missing, unreadable, or not what it was when the run was planned.
        """
        data = read_file(path, kind)
        planned = self.known.files.get(path)
        if planned is None and self.known.has(image_id, kind):
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

    @abstractmethod
    def ids(self, list_name: str) -> tuple[str, ...]:
        """Image ids of a list, sorted, without repetition. The list is a name or a list file (``.txt``).

        Raises:
            UserError: no such list; names the file looked for and what to do.
        """

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """The image file.

        Raises:
            UserError: there is none.
        """

    def has_image(self, image_id: str) -> bool:
        """Whether there is such an image, with its file."""
        try:
            return self.image_path(image_id).is_file()
        except UserError:
            return False

    @abstractmethod
    def image(self, image_id: str) -> UInt8:
        """(H, W, 3) uint8, RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; names it.
        """

    @abstractmethod
    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """(len(class_ids), H, W) uint8 at native size: 1 = the class, 0 = not, 255 = void.

        Raises:
            UserError: mask missing, of another size than the image, or with labels outside the classes.
        """

    @abstractmethod
    def class_pixels(self, image_id: str) -> dict[int, int]:
        """Native pixels of each class that the image shows (class id to count, no zeros, no void)."""

    @abstractmethod
    def fingerprint(self, lists: Sequence[str]) -> str:
        """A digest that changes when the files behind ``lists`` change: names, sizes, times, annotations.

        It tells whether something cached is still good. It changes too when files are copied: what identifies
        the data themselves is :meth:`label_digest`.
        """

    def image_digest(self, image_id: str) -> str:
        """What identifies an image's file wherever it lies: its size in bytes (reading all would take minutes)."""
        return str(self.image_path(image_id).stat().st_size)

    def label_digest(self, image_id: str) -> str:
        """A digest (hex) of the labels of one image, the same wherever the data lie.

        Raises:
            UserError: as :meth:`class_masks`.
        """
        return hashlib.sha256(self.class_masks(image_id, range(1, len(self.classes) + 1)).tobytes()).hexdigest()
