"""Training episodes: item i depends on the seed and i alone, so any worker count gives the same stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fsseg_bench.conventions import MOST_LABELS, UInt8
from fsseg_bench.data.augment import Role, View, augment, squashed_before
from fsseg_bench.data.kept import Kept
from fsseg_bench.data.loading import all_ways, one_way, square, squash, training_masks
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import distinct, seed_of, stream
from fsseg_bench.protocol.table import Copies, choices, further_images, one_of

_TRIES = 100


class Extras(NamedTuple):
    """What a method wants of training episodes besides images and masks."""

    class_labels: bool = False
    """Labels over all base classes."""
    unlabelled: int = 0
    """Further images of each way's class."""


class TrainingSample(NamedTuple):
    """One episode of base classes, N ways and K shots, at the input size S."""

    support_images: Tensor
    """(N, K, 3, S, S) uint8, RGB."""
    support_masks: Tensor
    """(N, K, S, S) uint8: 1 the way's class, 255 void or another way's class, else 0."""
    query_image: Tensor
    """(3, S, S) uint8, RGB."""
    query_label: Tensor
    """(S, S) uint8 in 0..N, or 255 for void."""
    seed: int
    """For methods that draw random numbers; in [0, 2**63)."""
    key: str
    """The query with the episode's classes: the same whenever they meet again."""
    classes: tuple[int, ...] = ()
    """The label values of the ways; none of a sample without episodes."""
    support_classes: Tensor | None = None
    """(N, K, S, S) uint8: 0 background, 1..n the fold's base classes in ascending order, 255 void; if asked for."""
    query_classes: Tensor | None = None
    """(S, S) uint8, the same for the query."""
    unlabelled: Tensor | None = None
    """(N, U, 3, S, S) uint8, RGB: further images of each way's class; if asked for."""


class TrainingBatch(NamedTuple):
    """B episodes: the fields of :class:`TrainingSample` with a first axis B."""

    support_images: Tensor
    support_masks: Tensor
    query_image: Tensor
    query_label: Tensor
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    classes: tuple[tuple[int, ...], ...] = ()
    support_classes: Tensor | None = None
    query_classes: Tensor | None = None
    unlabelled: Tensor | None = None


def collate(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Episodes as a batch."""
    images, masks, queries, labels, seeds, keys, classes, *extras = zip(*samples, strict=True)
    joined = [None if column[0] is None else torch.stack(column) for column in extras]
    image, mask, query, label = (torch.stack(part) for part in (images, masks, queries, labels))
    return TrainingBatch(image, mask, query, label, seeds, keys, classes, *joined)


class TrainingStream(Dataset[TrainingSample], ABC):
    """Samples by number, each of which depends on its number and a seed alone."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def sample_bytes(self) -> int:
        """How much memory the tensors of one sample take."""

    @property
    @abstractmethod
    def shown(self) -> set[str]:
        """The images that it draws from."""

    @abstractmethod
    def __getitem__(self, index: int) -> TrainingSample:
        """Sample ``index``.

        Raises:
            IndexError: there is no such sample.
            UserError: an image or a mask is missing or damaged; names the file.
        """


class _Draw(NamedTuple):
    classes: list[int]
    query: str
    supports: list[list[str]]
    """Each way's images."""


@dataclass(eq=False)
class TrainingEpisodes(TrainingStream):
    """A stream of ``length`` random episodes of a fold's base classes.

    An episode's classes are drawn uniformly without repetition, then the query, of the first class, and each class's
    supports uniformly from its images; all photos of an episode differ. Base classes that are not in the episode are
    background; what held-out classes are is the protocol's ``novel_in_train``.

    Raises:
        UserError: a base class has no K + 1 images, or there are fewer than N base classes.
    """

    source: Source
    protocol: InitVar[Protocol]  # not kept: loader processes may not know the class of a source from a folder
    pairs: Mapping[int, Sequence[str]]
    """Base class to ids of the training images that show enough of it, in any order."""
    fold: int
    """The fold that is held out."""
    way: int
    """N."""
    shot: int
    """K."""
    augmentation: str
    """The name of one (:data:`fsseg_bench.data.augment.AUGMENTATIONS`)."""
    seed: int
    """Of the whole stream."""
    length: int
    extras: Extras = field(default_factory=Extras)
    copies: Copies = field(default_factory=dict)
    """Images that are the same photo: a class has it under the first of them."""
    keep: int = 0
    """Bytes of decoded images and masks that each loading process may keep; no episode depends on it."""

    def __post_init__(self, protocol: Protocol) -> None:
        self._photos = {c: list(choices(images, self.copies).values()) for c, images in sorted(self.pairs.items())}
        self.pairs = {c: tuple(image for images in photos for image in images) for c, photos in self._photos.items()}
        self._size = protocol.image.side
        self._ignored = protocol.held_out(self.fold) if protocol.data.novel_in_train == "ignore" else ()
        self._base = protocol.base_classes(self.fold)
        self._kept = Kept(self.keep)
        self._where = f"{protocol.label}, fold {self.fold}"
        self._check(protocol)

    def __len__(self) -> int:
        return self.length

    @property
    def sample_bytes(self) -> int:
        """How much memory the tensors of one episode take."""
        images = 1 + self.way * self.shot
        maps = 4 + self.extras.class_labels  # three colours and a mask
        return self._size**2 * (maps * images + 3 * self.way * self.extras.unlabelled)

    @property
    def shown(self) -> set[str]:
        """The images that it draws from."""
        return {image for images in self.pairs.values() for image in images}

    def __getitem__(self, index: int) -> TrainingSample:
        """Episode ``index``.

        Raises:
            IndexError: there is no such episode.
            UserError: an image or a mask is missing or damaged; names the file.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"episode {index} of {self.length}")
        drawn = self._draw(index)
        views = []
        for way, ids in enumerate(drawn.supports, start=1):
            for image_id in ids:
                views.append(self._view(index, "support", image_id, drawn.classes, way))
        query = self._view(index, "query", drawn.query, drawn.classes)
        shape = (self.way, self.shot)
        images, masks = (torch.stack(parts).unflatten(0, shape) for parts in zip(*views, strict=True))
        semantic = self.extras.class_labels
        return TrainingSample(
            images,
            masks[:, :, 0],
            query.image,
            query.masks[0],
            seed_of("training method", self.seed, index),
            key=f"{drawn.query} {' '.join(map(str, drawn.classes))}",
            classes=tuple(drawn.classes),
            support_classes=masks[:, :, 1] if semantic else None,
            query_classes=query.masks[1] if semantic else None,
            unlabelled=self._unlabelled(index, drawn) if self.extras.unlabelled else None,
        )

    def _draw(self, index: int) -> _Draw:
        """The classes and images of an episode.

        Classes can share images, so that N ways may find too few different ones: then all is drawn again.
        """
        rng = stream("training", self.seed, index)
        known = list(self.pairs)
        for _ in range(_TRIES):
            classes = [known[i] for i in distinct(rng, len(known), self.way)]
            query, *first = self._unused(rng, classes[0], self.shot + 1, [])
            supports, used = [first], [query, *first]
            for c in classes[1:]:
                supports.append(self._unused(rng, c, self.shot, used))
                used += supports[-1]
            if all(len(images) == self.shot for images in supports):
                return _Draw(classes, query, supports)
        raise UserError(
            f"{self._where}: no {self.way}-way {self.shot}-shot training episode of different images was found in "
            f"{_TRIES} tries, because classes share their few images; lower --way or --shot, or add images"
        )

    def _unused(self, rng: np.random.RandomState, class_id: int, count: int, used: Sequence[str]) -> list[str]:
        """``count`` different images of a class whose photos are not in ``used``, uniformly; or all there are."""
        photos, copies = self._photos[class_id], self.copies
        barred = [copies.get(image, image) for image in used]
        order = distinct(rng, len(photos), min(len(photos), count + len(used)))
        drawn = [one_of(rng, photos[i], copies) for i in order]
        return [image for image in drawn if copies.get(image, image) not in barred][:count]

    def _image(self, image_id: str, side: int | None) -> UInt8:
        """(H, W, 3), or squashed to ``side``."""

        def read() -> UInt8:
            image = self.source.image(image_id)
            return image if side is None else square(Image.fromarray(image), side)

        return self._kept.get((image_id, side), read).copy()  # an augmentation may write into it

    def _mask(self, image_id: str, classes: Sequence[int], way: int | None, side: int | None) -> UInt8:
        """(H, W), or squashed to ``side``: a way's mask, or without one the label of all ways."""

        def read() -> UInt8:
            masks = training_masks(self.source, image_id, classes, self._ignored)
            mask = all_ways(masks) if way is None else one_way(masks, way)
            return mask if side is None else squash(mask, side)

        alone = len(classes) == 1  # then mask and label are the same
        return self._kept.get((image_id, tuple(classes), None if alone else way, side), read)

    def _view(self, index: int, role: Role, image_id: str, classes: Sequence[int] = (), way: int | None = None) -> View:
        """Image and masks at the input size, changed at random: the episode's mask, then the classes' if asked for.

        An unlabelled image comes without classes, and has no mask. An episode's images differ, so the id is enough for
        a seed.
        """
        side = squashed_before(self.augmentation, role, self._size)
        image = self._image(image_id, side)
        wanted = [(classes, way), (self._base, None)][: 1 + self.extras.class_labels] if classes else []
        masks = [self._mask(image_id, *one, side) for one in wanted] or [np.zeros(image.shape[:2], dtype=np.uint8)]
        seed = seed_of("training view", self.seed, index, image_id)
        return augment(self.augmentation, role, image, np.stack(masks), self._size, seed)

    def _unlabelled(self, index: int, drawn: _Draw) -> Tensor:
        used = [drawn.query, *(image for images in drawn.supports for image in images)]
        seed = seed_of("training unlabelled", self.seed, index)
        further = further_images(seed, drawn.classes, used, self.pairs, self.extras.unlabelled, self.copies)
        views = [[self._view(index, "query", image).image for image in images] for images in further]
        return torch.stack([torch.stack(images) for images in views])

    def _check(self, protocol: Protocol) -> None:
        if self.extras.class_labels and len(self._base) > MOST_LABELS:
            raise UserError(
                f"{self._where}: the method trains with one map of labels over all base classes, which holds "
                f"{MOST_LABELS}; the fold has {len(self._base)}. Use a method or switches without class labels"
            )
        if len(self.pairs) < self.way:
            raise UserError(
                f"{self._where}: {self.way}-way training needs {self.way} base classes, found {len(self.pairs)}; "
                "lower --way"
            )
        short = {c: len(photos) for c, photos in self._photos.items() if len(photos) < self.shot + 1}
        if short:
            found = ", ".join(f"{protocol.class_name(c)!r} has {count}" for c, count in short.items())
            raise UserError(
                f"{self._where}: {self.shot}-shot training needs {self.shot + 1} training images of each base "
                f"class, but {found} (counted are images of {', '.join(protocol.data.train_list)} with at least "
                f"{protocol.data.min_object_pixels} pixels of the class); lower --shot, recipe.train_shots or "
                "data.min_object_pixels, or add images"
            )
