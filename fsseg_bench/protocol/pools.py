"""The images that one class's queries and supports are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fsseg_bench.protocol.streams import below, distinct
from fsseg_bench.protocol.table import Copies, choices, one_of


class Pool:
    """The photos of one class in canonical order, each with the image, or the crops, that show the class."""

    def __init__(self, images: Iterable[str], copies: Copies) -> None:
        photos = choices(images, copies)
        self.photos = list(photos.values())  # a draw is a position: the index may list the images in any order
        self._position = {photo: i for i, photo in enumerate(photos)}
        self._copies = copies

    @property
    def images(self) -> list[str]:
        """All of them, photo by photo."""
        return [image for images in self.photos for image in images]

    def first(self, count: int) -> tuple[str, ...]:
        """The first image of each of the first ``count`` photos."""
        return tuple(images[0] for images in self.photos[:count])

    def without(self, used: Sequence[str]) -> set[str]:
        """The images whose photo is not in ``used``."""
        taken = set(self.taken(used))
        return {image for i, images in enumerate(self.photos) if i not in taken for image in images}

    def taken(self, used: Iterable[str]) -> list[int]:
        """The positions of the images whose photo is in ``used``, ascending."""
        photos = (self._copies.get(image, image) for image in used)
        return sorted(self._position[photo] for photo in photos if photo in self._position)

    def draw(
        self, rng: np.random.RandomState, count: int, used: Sequence[str], *, replacement: bool = False
    ) -> tuple[str, ...]:
        """``count`` images whose photos are not in ``used``, uniformly: of different photos, or each of any of them.

        Of crops, one of the photo's is drawn after the photos.
        """
        taken = self.taken(used)
        free = len(self.photos) - len(taken)
        drawn = [below(rng, free) for _ in range(count)] if replacement else distinct(rng, free, count)
        return tuple(one_of(rng, self.photos[_skip(i, taken)], self._copies) for i in drawn)


def _skip(i: int, taken: Sequence[int]) -> int:
    """The ``i``-th position, from 0, among those that are not in the ascending ``taken``."""
    for position in taken:
        if i >= position:
            i += 1
    return i
