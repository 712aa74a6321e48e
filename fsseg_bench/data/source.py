"""The contract of a data source: images, class masks, lists."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsseg_bench.errors import UserError

UInt8 = npt.NDArray[np.uint8]

VOID = 255
"""The mask value of pixels that count nowhere."""


class Source(ABC):
    """Images with class masks, read one at a time. Safe to pickle (loader workers) and for threads."""

    root: Path
    """The folder of the data set."""
    classes: tuple[str, ...]
    """Class names; the label value of a class is its position, from 1."""

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
