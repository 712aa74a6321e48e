"""The images that one class's queries and supports are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fsseg_bench.protocol.streams import below, distinct
from fsseg_bench.protocol.table import Copies, once


class Pool:
    """The images of one class in canonical order, each photo once."""

    def __init__(self, images: Iterable[str], copies: Copies) -> None:
        photos = once(images, copies)
        self.images = list(photos.values())  # a draw is a position: the index may list the images in any order
        self._position = {photo: i for i, photo in enumerate(photos)}
        self._copies = copies

    def taken(self, used: Iterable[str]) -> list[int]:
        """The positions of the images whose photo is in ``used``, ascending."""
        photos = (self._copies.get(image, image) for image in used)
        return sorted(self._position[photo] for photo in photos if photo in self._position)

    def draw(
        self, rng: np.random.RandomState, count: int, used: Sequence[str], *, replacement: bool = False
    ) -> tuple[str, ...]:
        """``count`` images that are not in ``used``, uniformly: different ones, or each drawn from all of them."""
        taken = self.taken(used)
        free = len(self.images) - len(taken)
        drawn = [below(rng, free) for _ in range(count)] if replacement else distinct(rng, free, count)
        return tuple(self.images[_skip(i, taken)] for i in drawn)


def _skip(i: int, taken: Sequence[int]) -> int:
    """The ``i``-th position, from 0, among those that are not in the ascending ``taken``."""
    for position in taken:
        if i >= position:
            i += 1
    return i
