"""A data source of made-up photographs: what work costs can be measured where no data are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.source import Source
from fsseg_bench.protocol.streams import seed_of

_RATIO = 4 / 3


class MadeUpSource(Source):
    """Every id is an image: noise, a third wider than high, with as many pixels as the input has.

    Of each class there is one rectangle. Nothing is read or decoded.
    """

    def __init__(self, classes: Sequence[str], side: int) -> None:
        """A source of ``classes`` for an input of ``side`` pixels."""
        super().__init__(Path(), classes)
        self._height, self._width = round(side / _RATIO**0.5), round(side * _RATIO**0.5)

    @cached_property
    def _noise(self) -> UInt8:
        random = np.random.RandomState(seed_of("made-up image") % 2**32)
        return random.randint(0, 256, (self._height, self._width, 3), dtype=np.uint8)

    def listed(self, list_name: str) -> Iterable[str]:
        """No list."""
        return ()

    def files(self, image_id: str) -> tuple[Path, ...]:
        """No file."""
        return ()

    def image(self, image_id: str) -> UInt8:
        """(H, W, 3) uint8, the same of every id."""
        return self._noise

    def image_size(self, image_id: str) -> tuple[int, int]:
        """(W, H)."""
        return self._width, self._height

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """(classes, H, W) uint8: 1 in a rectangle of half the height, at another place for each class."""
        masks = np.zeros((len(class_ids), self._height, self._width), dtype=np.uint8)
        wide = max(self._width // (len(class_ids) + 1), 1)
        for i, mask in enumerate(masks):
            mask[self._height // 4 : self._height // 4 * 3, i * wide : (i + 1) * wide] = 1
        return masks
