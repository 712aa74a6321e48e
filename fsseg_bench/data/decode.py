"""Reads files, and decodes images with Pillow; what cannot be read ends in a message that names the file."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.exif import orientation_of, pixels_of, size_of
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
    """The text of ``path``, in UTF-8 or, as PowerShell writes it, UTF-16, with or without a byte order mark.

    Arguments as :func:`read_file`.

    Raises:
        UserError: missing, unreadable, or in another encoding.
    """
    data = read_file(path, kind, advice)
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the {kind} cannot be read: {error}; save it as UTF-8") from None


def read_json(path: Path, advice: str = "") -> Any:
    """The content of a JSON file, in the encodings of :func:`read_text`.

    Raises:
        UserError: missing, unreadable, or not JSON.
    """
    text = read_text(path, "JSON file", advice)
    if not text.strip():
        raise UserError(f"{path}: not valid JSON: the file is empty; export or download it again")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = "; it seems to hold a JSON object a line, which is another format" if "Extra data" in str(error) else ""
        begins = "" if text.lstrip()[:1] in {"{", "["} else f" (it begins with {text[:20]!r})"
        raise UserError(f"{path}: not valid JSON: {error}{begins}{lines}; export or download the file again") from None


def sha256(data: bytes) -> str:
    """SHA-256 (hex) of ``data``."""
    return hashlib.sha256(data).hexdigest()


def read_image(path: Path, data: bytes | None = None, *, upright: bool = False) -> UInt8:
    """(H, W, 3) uint8, RGB, as stored, or with ``upright`` turned as the file's EXIF orientation says.

    ``data`` is the file's content where that was read before; the file is then not read again.

    Raises:
        UserError: the file is missing, cannot be decoded, is grey with more than 8 bits, or has several frames. Of RGB
            with 16 bits a channel, the higher 8 are kept.
    """
    with opened(path, "image", read_file(path, "image") if data is None else data) as file:
        if file.mode.startswith(("I", "F")):
            raise UserError(f"{path}: the image has mode {file.mode}; save it with 8 bits a channel")
        # a second image in a JPEG (MPO) is the photo once more, as cameras and phones write it
        if file.format != "MPO" and (frames := getattr(file, "n_frames", 1)) > 1:
            raise UserError(
                f"{path}: the image has {frames} frames or pages; save the one that is meant as a file alone"
            )
        return pixels_of(file, upright=upright)


def image_size(path: Path, *, upright: bool = False) -> tuple[int, int]:
    """(W, H) in pixels of :func:`read_image`'s pixels, from the file's header.

    Raises:
        UserError: the file is missing or its header cannot be read.
    """
    with opened(path, "image") as file:
        return size_of(file, upright=upright)


def image_orientation(path: Path) -> int:
    """1 to 8, as EXIF defines them, from the file's header; 1, upright, where the file says nothing.

    Raises:
        UserError: as :func:`image_size`.
    """
    with opened(path, "image") as file:
        return orientation_of(file)


def check_size(what: str, size: tuple[int, int], image_path: Path, *, upright: bool = False) -> None:
    """Whether labels of ``size`` (W, H) fit their image, stored or upright; ``what`` says in messages what they are.

    Raises:
        UserError: they do not; names both with their sizes, and the EXIF orientation where that is why. Or the image
            cannot be read.
    """
    found = image_size(image_path, upright=upright)
    if found == size:
        return
    message = (
        f"{what} {size[0]} x {size[1]} pixels and its image {image_path} {found[0]} x {found[1]}; a mask must have the "
        "size of its image"
    )
    if image_size(image_path, upright=not upright) == size:
        told = f"The photo's EXIF orientation is {image_orientation(image_path)}"
        if upright:
            message += (
                f". {told}, and it is turned upright; the mask fits the pixels as they are stored. Turn the mask as "
                'well, or set image.orientation = "stored" in the protocol, if all masks were drawn on stored pixels'
            )
        else:
            message += (
                f". {told}, and the mask fits the photo turned upright, as viewers and labelling tools show it: set "
                'image.orientation = "upright" in the protocol, or turn the pixels once and for all (exiftran -ai '
                "FILE, or PIL.ImageOps.exif_transpose)"
            )
    elif found == size[::-1]:
        message += ": width and height are swapped"
    raise UserError(message)


@contextmanager
def opened(path: Path, kind: str, data: bytes | None = None) -> Iterator[Image.Image]:
    """The image in ``data``, or in the file ``path`` without it; ``kind`` says in messages what it is.

    Raises:
        UserError: the file is missing, or what is done with the image shows that it is broken; names the file.
    """
    try:
        with Image.open(regular(path) if data is None else io.BytesIO(data)) as file:
            yield file
    except FileNotFoundError:
        read_file(path, kind)  # says what is missing
        raise
    except UnidentifiedImageError:
        raise UserError(f"{path}: the {kind} cannot be read (it is not an image file); replace the file") from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.filename:  # a folder, a circle of links, or not ours to read
            raise UserError(f"{path}: the {kind} cannot be read: {error.strerror}") from None
        raise UserError(f"{path}: the {kind} cannot be read ({error}); replace the file") from None
