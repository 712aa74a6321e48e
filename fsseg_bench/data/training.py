"""Training episodes: item i depends on the seed and i alone, so any worker count gives the same stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fsseg_bench.data.augment import Augmentation, Pair, Role, augment
from fsseg_bench.data.loading import all_ways, one_way, training_masks
from fsseg_bench.data.source import Source, UInt8
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import distinct, seed_of, stream


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
    """For methods that draw random numbers."""


class TrainingBatch(NamedTuple):
    """B episodes: the fields of :class:`TrainingSample` with a first axis B."""

    support_images: Tensor
    support_masks: Tensor
    query_image: Tensor
    query_label: Tensor
    seeds: tuple[int, ...]


def collate(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Episodes as a batch."""
    images, masks, queries, labels, seeds = zip(*samples, strict=True)
    return TrainingBatch(torch.stack(images), torch.stack(masks), torch.stack(queries), torch.stack(labels), seeds)


class TrainingEpisodes(Dataset[TrainingSample]):
    """A stream of ``length`` random episodes of a fold's base classes.

    Classes are drawn uniformly; the query is never a support. Classes that are not in the episode are background; what held-out classes are is the protocol's
    ``novel_in_train``.
    """

    def __init__(
        self,
        source: Source,
        protocol: Protocol,
        pairs: Mapping[int, Sequence[str]],
        fold: int,
        way: int,
        shot: int,
        augmentation: Augmentation,
        seed: int,
        length: int,
    ) -> None:
        """Checks that episodes can be drawn.

        Args:
            source: where images and masks come from.
            protocol: the rules.
            pairs: base class to its training images.
            fold: the fold that is held out.
            way: N.
            shot: K.
            augmentation: see :func:`fsseg_bench.data.augment.augment`.
            seed: of the whole stream.
            length: number of episodes.

        Raises:
            UserError: a base class has no K + 1 images, or there are fewer than N classes.
        """
        self._source = source
        self._size = protocol.image.size
        self._ignored = protocol.novel_classes(fold) if protocol.data.novel_in_train == "ignore" else ()
        self._pairs = {c: tuple(sorted(images)) for c, images in sorted(pairs.items())}
        self._way, self._shot = way, shot
        self._augmentation = augmentation
        self._seed = seed
        self._length = length
        _check(protocol, self._pairs, fold, way, shot)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> TrainingSample:
        """Episode ``index``.

        Raises:
            UserError: an image or a mask is missing or damaged; names the file.
        """
        classes, query, supports = self._draw(index)
        images, masks = [], []
        for way, ids in enumerate(supports, start=1):
            for k, image_id in enumerate(ids):
                mask = one_way(self._masks(image_id, classes), way)
                pair = self._augment("support", image_id, mask, seed_of(self._seed, index, "support", way, k))
                images.append(pair.image)
                masks.append(pair.mask)
        label = all_ways(self._masks(query, classes))
        target = self._augment("query", query, label, seed_of(self._seed, index, "query"))
        shape = (self._way, self._shot)
        return TrainingSample(
            torch.stack(images).unflatten(0, shape),
            torch.stack(masks).unflatten(0, shape),
            target.image,
            target.mask,
            seed_of(self._seed, index, "method"),
        )

    def _draw(self, index: int) -> tuple[list[int], str, list[list[str]]]:
        """Classes, the query (of the first), and each way's supports."""
        rng = stream("training", self._seed, index)
        known = list(self._pairs)
        classes = [known[i] for i in distinct(rng, len(known), self._way)]
        first = self._pairs[classes[0]]
        own = [first[i] for i in distinct(rng, len(first), self._shot + 1)]
        query, chosen = own[0], [own[1:]]
        for class_id in classes[1:]:
            # other ways share no image with the episode, or where images are few at least not the query
            used = {query, *(image for images in chosen for image in images)}
            images = [image for image in self._pairs[class_id] if image not in used]
            if len(images) < self._shot:
                images = [image for image in self._pairs[class_id] if image != query]
            chosen.append([images[i] for i in distinct(rng, len(images), self._shot)])
        return classes, query, chosen

    def _masks(self, image_id: str, classes: Sequence[int]) -> UInt8:
        return training_masks(self._source, image_id, classes, self._ignored)

    def _augment(self, role: Role, image_id: str, mask: UInt8, seed: int) -> Pair:
        return augment(self._augmentation, role, self._source.image(image_id), mask, self._size, seed)


def _check(protocol: Protocol, pairs: Mapping[int, Sequence[str]], fold: int, way: int, shot: int) -> None:
    if len(pairs) < way:
        raise UserError(
            f"{protocol.label}, fold {fold}: {way}-way training needs {way} base classes, found {len(pairs)}"
        )
    for class_id, images in pairs.items():
        if len(images) < shot + 1:
            raise UserError(
                f"{protocol.label}, fold {fold}: class {protocol.class_name(class_id)!r} has {len(images)} training "
                f"images with at least {protocol.data.min_object_pixels} pixels of it; {shot}-shot training needs "
                f"{shot + 1}. Add images, use fewer shots (--shot, recipe.train_shots), or lower "
                "data.min_object_pixels"
            )
