"""Reads files, and decodes images and masks with Pillow; what cannot be read ends in a message that names the file."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fsseg_bench.conventions import UInt8
from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of image files in small letters; files have them in any case."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read_file(path: Path, kind: str, advice: str = "") -> bytes:
    """The bytes of ``path``; ``kind`` says in messages what it is, ``advice`` what to do where there is none.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        return regular(path).read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path}: the {kind} is a link to {path.readlink()}, which is not there") from None
        raise UserError(f"{path}: no such {kind}{advice}") from None
    except OSError as error:
        raise UserError(f"{path}: the {kind} cannot be read: {error.strerror or error}") from None


def read_text(path: Path, kind: str, advice: str = "") -> str:
    """The text of ``path``, with or without a byte order mark; as :func:`read_file`.

    Raises:
        UserError: missing, unreadable, or not UTF-8.
    """
    try:
        return read_file(path, kind, advice).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the {kind} cannot be read: {error}") from None


def sha256(data: bytes) -> str:
    """SHA-256 (hex) of ``data``."""
    return hashlib.sha256(data).hexdigest()


def read_image(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W, 3) uint8, RGB, as stored: a rotation noted in EXIF is not applied (masks follow the pixels).

    ``data`` is the file's content where that was read before; the file is then not read again.

    Raises:
        UserError: the file is missing, cannot be decoded, or has more than 8 bits a channel.
    """
    with _opened(path, "image", read_file(path, "image") if data is None else data) as file:
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


def read_labels(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: the indices of a palette PNG or the values of an 8-bit greyscale one.

    Arguments as :func:`read_image`.

    Raises:
        UserError: the file is missing, cannot be decoded, or holds colours instead of indices.
    """
    with _opened(path, "mask", read_file(path, "mask") if data is None else data) as file:
        if file.mode not in {"P", "L"}:
            raise UserError(
                f"{path}: the mask has mode {file.mode}; a mask holds one label value a pixel: "
                "save it as a palette or an 8-bit greyscale PNG"
            )
        return np.array(file)


def read_binary_mask(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: 1 on the object, 0 elsewhere.

    0 is background and every other pixel must have one and the same value, whichever it is: 0/1 and 0/255 masks both
    work, and 255 never means void here. Greyscale, palette (the index counts), bilevel, and colour files without
    colour (black and white RGB) are read. Arguments as :func:`read_image`.

    Raises:
        UserError: the file is missing, cannot be decoded, is coloured or transparent, or holds several values.
    """
    with _opened(path, "mask", read_file(path, "mask") if data is None else data) as file:
        pixels = np.array(file)
        mode = file.mode
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        pixels, mode = pixels[..., 0], "L"
    if mode not in {"P", "L", "1"}:
        raise UserError(
            f"{path}: the mask has mode {mode}{' and colours' if mode == 'RGB' else ''}; save it as a greyscale PNG "
            "with 0 for background and one other value for the object"
        )
    values = np.unique(pixels)
    objects = values[values > 0]
    if len(objects) > 1:
        shown = ", ".join(map(str, objects[:5].tolist())) + (", ..." if len(objects) > 5 else "")
        raise UserError(
            f"{path}: the mask has the values {shown} beside 0; a binary mask has one. Soft edges of a drawing program "
            "must go; several objects or void pixels need VOC's layout, whose masks hold label values, 255 being void"
        )
    return (pixels > 0).astype(np.uint8)


def check_mask_size(mask_path: Path, mask: UInt8, image_path: Path) -> None:
    """Whether a mask (H, W) has the size of its image.

    Raises:
        UserError: it has not; names both files and sizes. Or the image cannot be read.
    """
    height, width = mask.shape
    if (found := image_size(image_path)) != (width, height):
        raise UserError(
            f"{mask_path} is {width} x {height} pixels and its image {image_path} {found[0]} x {found[1]}; "
            "a mask must have the size of its image"
        )


@contextmanager
def _opened(path: Path, kind: str, data: bytes | None = None) -> Iterator[Image.Image]:
    """The image in ``data``, or in the file ``path`` without it."""
    try:
        with Image.open(regular(path) if data is None else io.BytesIO(data)) as file:
            yield file
    except FileNotFoundError:
        read_file(path, kind)  # says what is missing
        raise
    except UnidentifiedImageError:
        raise UserError(f"{path}: the {kind} cannot be read (it is not an image file); replace the file") from None
    except _BROKEN as error:
        raise UserError(f"{path}: the {kind} cannot be read ({error}); replace the file") from None
