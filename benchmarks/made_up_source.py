"""Images and masks made in memory, for timings that must not depend on a disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.source import Source
from fsseg_bench.protocol.streams import seed_of, stream

_BLOTCHES = 14  # a side: smooth regions with some texture, as superpixels expect


class MadeUpSource(Source):
    """Any image id is a square image of blotches with an ellipse of the one class and void around it."""

    def __init__(self, size: int) -> None:
        """Images of ``size`` pixels a side."""
        super().__init__(Path(), ["ellipse"])
        self._size = size

    def listed(self, list_name: str) -> tuple[str, ...]:
        """None: there are no lists."""
        return ()

    def files(self, image_id: str) -> tuple[Path, ...]:
        """A name; there are no files."""
        return (Path(image_id),)

    def image(self, image_id: str) -> UInt8:
        """(size, size, 3) uint8."""
        return _image(image_id, self._size)

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """(len(class_ids), size, size) uint8: the ellipse for class 1, nothing for others."""
        ellipse = _ellipse(image_id, self._size)
        return np.stack([ellipse if c == 1 else np.zeros_like(ellipse) for c in class_ids])


@lru_cache(maxsize=256)
def _image(image_id: str, size: int) -> UInt8:
    rng = stream("made-up image", seed_of(image_id))
    colours = Image.fromarray(rng.randint(0, 256, (_BLOTCHES, _BLOTCHES, 3)).astype(np.uint8))
    smooth = np.asarray(colours.resize((size, size), Image.Resampling.BILINEAR), np.int64)
    textured: UInt8 = np.clip(smooth + rng.randint(-12, 13, (size, size, 3)), 0, 255).astype(np.uint8)
    return textured


@lru_cache(maxsize=256)
def _ellipse(image_id: str, size: int) -> UInt8:
    """About a fifth of the image."""
    rng = stream("made-up mask", seed_of(image_id))
    y, x = np.mgrid[:size, :size] / size
    centre = 0.35 + 0.3 * rng.random_sample(2)
    distance = np.hypot((y - centre[0]) / 0.3, (x - centre[1]) / 0.21)
    ellipse = np.zeros((size, size), np.uint8)
    ellipse[distance < 1 + 4 / size] = VOID
    ellipse[distance < 1] = 1
    return ellipse
