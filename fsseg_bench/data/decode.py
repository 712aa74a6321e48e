"""Reads image and label files with Pillow; what cannot be read ends in a message that names the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from fsseg_bench.data.source import UInt8
from fsseg_bench.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
"""Suffixes of image files, in the order in which they are looked for."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read_image(path: Path) -> UInt8:
    """(H, W, 3) uint8, RGB, as stored: a rotation noted in EXIF is not applied (masks follow the pixels).

    Raises:
        UserError: the file is missing, cannot be decoded, or has more than 8 bits a channel.
    """
    with _opened(path, "image") as file:
        if file.mode.startswith(("I", "F")):
            raise UserError(f"{path}: the image has mode {file.mode}; save it with 8 bits a channel")
        return np.array(file if file.mode == "RGB" else file.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """(W, H) in pixels, from the file's header.

    Raises:
        UserError: the file is missing or its header cannot be read.
    """
    with _opened(path, "image") as file:
        return file.size


def read_labels(path: Path) -> UInt8:
    """(H, W) uint8: the indices of a palette PNG or the values of an 8-bit greyscale one.

    Raises:
        UserError: the file is missing, cannot be decoded, or holds colours instead of indices.
    """
    with _opened(path, "mask") as file:
        if file.mode not in {"P", "L"}:
            raise UserError(
                f"{path}: the mask has mode {file.mode}; a mask holds one label value a pixel: "
                "save it as a palette or an 8-bit greyscale PNG"
            )
        return np.array(file)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such {kind}") from None
    except _BROKEN as error:
        raise UserError(f"{path}: the {kind} cannot be read ({error}); replace the file") from None
