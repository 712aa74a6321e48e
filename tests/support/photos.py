"""Photos with an EXIF orientation: pixels of which no turn looks like another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)
"""(5, 7, 3) uint8."""


def exif(orientation: int) -> Image.Exif:
    """EXIF that says nothing but an orientation."""
    said = Image.Exif()
    said[0x0112] = orientation
    return said


def save_photo(path: Path, orientation: int, pixels: np.typing.NDArray[np.uint8] = PIXELS, **options: Any) -> Path:
    """``pixels`` as they are, with an orientation; returns the path."""
    Image.fromarray(pixels).save(path, exif=exif(orientation), **options)
    return path
