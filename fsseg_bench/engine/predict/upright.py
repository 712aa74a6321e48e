"""Images as people see them: turned as the EXIF orientation says, whether from a file or given as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import read_image
from fsseg_bench.errors import UserError

AnyImage = str | Path | npt.NDArray[np.uint8]
"""An image file, or pixels (H, W, 3), RGB."""


def upright(image: AnyImage) -> UInt8:
    """(H, W, 3) uint8, RGB; an array is taken as it is.

    Raises:
        UserError: the file is missing or cannot be decoded, or the array is none of an image.
    """
    if not isinstance(image, str | Path):
        return _checked(image)
    return read_image(Path(image).expanduser(), upright=True)


def named(image: AnyImage) -> str:
    """What messages call an image."""
    return str(image) if isinstance(image, str | Path) else "an image given as an array"


def _checked(pixels: npt.NDArray[np.uint8]) -> UInt8:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(
            f"an image is {found}; give a file, or an array (H, W, 3) of uint8 in the order red, green, blue"
        )
    if not pixels.size:
        raise UserError(f"an image has no pixels: its shape is {pixels.shape}")
    return pixels
