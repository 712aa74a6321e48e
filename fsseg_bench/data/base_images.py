"""Training images with the labels of all base classes, without episodes: for networks that come before a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from fsseg_bench.conventions import MOST_LABELS, UInt8
from fsseg_bench.data.augment import augment, squashed_before
from fsseg_bench.data.index import PairIndex
from fsseg_bench.data.kept import Kept
from fsseg_bench.data.loading import all_ways, square, squash, training_masks
from fsseg_bench.data.source import Source
from fsseg_bench.data.training import TrainingSample, TrainingStream
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import distinct, seed_of, stream
from fsseg_bench.protocol.table import choices


class ChosenImages(NamedTuple):
    """What a network of the base classes is trained on."""

    images: tuple[str, ...]
    """Each photo once, or all of its crops, sorted."""
    left_out: int
    """How many other training images there are that show an object of any class."""


def chosen_images(index: PairIndex, fold: int, which: Literal["base", "all"]) -> ChosenImages:
    """The training images of a fold.

    Args:
        index: with the protocol's rules for images that show held-out classes.
        fold: that is held out.
        which: ``base``: those that show at least ``data.min_object_pixels`` of a listed base class; ``all``: all that
            show an object of any class.
    """
    base = {image for images in index.train_pairs(fold).values() for image in images}
    every = set(index.training_images(fold))
    found = base if which == "base" else every
    images = sorted(image for one in choices(found, index.copies).values() for image in one)
    return ChosenImages(tuple(images), len(every - found))


@dataclass(eq=False)
class BaseImages(TrainingStream):
    """A stream of ``length`` images, each of which comes once before any comes again, in a new order each time.

    A sample is an episode with all C base classes as its ways, no supports, and the image as the query: its label is 0
    where it shows none of them, 1..C for the base classes in ascending order, 255 for void. What held-out classes are
    is the protocol's ``novel_in_train``.

    Raises:
        UserError: there is no image, or more base classes than a label holds.
    """

    source: Source
    protocol: InitVar[Protocol]  # not kept: loader processes may not know the class of a source from a folder
    images: Sequence[str]
    fold: int
    """The fold that is held out."""
    augmentation: str
    """The name of one (:data:`fsseg_bench.data.augment.AUGMENTATIONS`); images are changed as queries are."""
    seed: int
    """Of the whole stream."""
    length: int
    keep: int = 0
    """Bytes of decoded images and masks that each loading process may keep; no sample depends on it."""

    def __post_init__(self, protocol: Protocol) -> None:
        self._size = protocol.image.side
        self._base = protocol.base_classes(self.fold)
        self._ignored = protocol.held_out(self.fold) if protocol.data.novel_in_train == "ignore" else ()
        self._kept = Kept(self.keep)
        where = f"{protocol.label}, fold {self.fold}"
        if len(self._base) > MOST_LABELS:
            raise UserError(
                f"{where}: one map of labels holds {MOST_LABELS} base classes, and the fold has {len(self._base)}"
            )
        if not self.images:
            raise UserError(
                f"{where}: no training image shows at least {protocol.data.min_object_pixels} pixels of a base class; "
                "lower data.min_object_pixels, or add images"
            )

    def __len__(self) -> int:
        return self.length

    @property
    def sample_bytes(self) -> int:
        """How much memory the tensors of one sample take: three colours and a label."""
        return 4 * self._size**2

    @property
    def shown(self) -> set[str]:
        """The images that it draws from."""
        return set(self.images)

    def __getitem__(self, index: int) -> TrainingSample:
        """Sample ``index``.

        Raises:
            IndexError: there is no such sample.
            UserError: an image or a mask is missing or damaged; names the file.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length}")
        turn, place = divmod(index, len(self.images))
        image_id = self.images[_order(self.seed, turn, len(self.images))[place]]
        side = squashed_before(self.augmentation, "query", self._size)
        image, label = self._image(image_id, side), self._label(image_id, side)
        seed = seed_of("base image view", self.seed, index)
        view = augment(self.augmentation, "query", image, label[None], self._size, seed)
        ways, size = len(self._base), self._size
        return TrainingSample(
            torch.empty(ways, 0, 3, size, size, dtype=torch.uint8),
            torch.empty(ways, 0, size, size, dtype=torch.uint8),
            view.image,
            view.masks[0],
            seed_of("base image method", self.seed, index),
            key=image_id,
        )

    def _image(self, image_id: str, side: int | None) -> UInt8:
        def read() -> UInt8:
            image = self.source.image(image_id)
            return image if side is None else square(Image.fromarray(image), side)

        return self._kept.get(("image", image_id, side), read).copy()  # an augmentation may write into it

    def _label(self, image_id: str, side: int | None) -> UInt8:
        def read() -> UInt8:
            label = all_ways(training_masks(self.source, image_id, self._base, self._ignored))
            return label if side is None else squash(label, side)

        return np.array(self._kept.get(("label", image_id, side), read))


@lru_cache(maxsize=2)
def _order(seed: int, turn: int, count: int) -> list[int]:
    """In which order the images come, the ``turn``-th time (from 0)."""
    return distinct(stream("base images", seed, turn), count, count)
