"""The orientation that a camera notes in EXIF: read from the header of an image file, and applied to pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fsseg_bench.conventions import UInt8

STORED = 1
"""The orientation of pixels that are stored as they are meant to be seen."""
_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows stored pixels as they are meant to be seen."""
_SIDEWAYS = range(5, 9)
_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
"""What undoes a turn, where that is not the turn itself."""
_NUMBERS = {1: "B", 3: "H", 4: "L"}  # TIFF's types of whole numbers; cameras write 3


def orientation_of(file: Image.Image) -> int:
    """1 to 8 as EXIF defines them, of a file opened and not yet loaded; 1 where it says nothing or nonsense."""
    if isinstance(file, TiffImageFile):
        found = file.tag_v2.get(_TAG)
    else:
        exif = file.info.get("exif") or (_late_exif(file) if isinstance(file, PngImageFile) else b"")
        found = _orientation_in(exif if isinstance(exif, bytes) else b"")
    return found if isinstance(found, int) and found in _TURNS else STORED


def size_of(file: Image.Image, *, upright: bool) -> tuple[int, int]:
    """(W, H) in pixels, of a file that was opened and not yet loaded."""
    # of a TIFF, Pillow says the upright size
    width, height = (file.tag_v2[256], file.tag_v2[257]) if isinstance(file, TiffImageFile) else file.size
    return (height, width) if upright and orientation_of(file) in _SIDEWAYS else (width, height)


def pixels_of(file: Image.Image, *, upright: bool) -> UInt8:
    """(H, W, 3) uint8, RGB, of a file that was opened and not yet loaded."""
    # first of all: a PNG may have it behind its pixels, and Pillow forgets a TIFF's when it has turned it
    turn = _TURNS.get(orientation_of(file)) if upright or isinstance(file, TiffImageFile) else None
    image = file if file.mode == "RGB" else file.convert("RGB")
    image.load()
    if isinstance(file, TiffImageFile) and turn is not None and _TAG not in file.tag_v2:  # Pillow has turned it
        turn = None if upright else _BACK.get(turn, turn)
    elif not upright:
        turn = None
    return np.array(image if turn is None else image.transpose(turn))


def _orientation_in(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, which is a TIFF without pixels; None where there is none, or a broken one."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHL", tiff, place)
            if tag == _TAG:
                (value,) = struct.unpack_from(f"{order}{_NUMBERS[kind]}", tiff, place + 8)
                return int(value)
    except (struct.error, KeyError):
        return None
    return None


def _late_exif(file: PngImageFile) -> bytes:
    """The chunk eXIf behind a PNG's pixels, where Pillow sees it only after it has decoded them all."""
    handle = file.fp
    if handle is None:
        return b""
    place = handle.tell()
    try:
        return next((body for body in _chunks(handle, b"eXIf")), b"")
    finally:
        handle.seek(place)


def _chunks(handle: IO[bytes], wanted: bytes) -> Iterator[bytes]:
    handle.seek(8)
    while len(head := handle.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        if kind == wanted:
            yield handle.read(length)
            handle.seek(4, 1)
        else:
            handle.seek(length + 4, 1)
