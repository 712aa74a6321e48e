"""The EXIF orientation of photos: read in every format and byte order, applied as Pillow's own reference does it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fsseg_bench.data.decode import check_size, image_orientation, image_size, read_image
from fsseg_bench.errors import UserError
from tests.support.photos import PIXELS, save_photo
from tests.support.png import write_png

FORMATS: dict[str, dict[str, Any]] = {"jpg": {}, "png": {}, "webp": {"lossless": True}, "tif": {}}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_pixels_are_those_that_pillow_turns(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = save_photo(tmp_path / f"a.{suffix}", orientation, **FORMATS[suffix])
    with Image.open(path) as file:
        expected = np.array(ImageOps.exif_transpose(file))
    upright, stored = read_image(path, upright=True), read_image(path)
    assert np.array_equal(upright, expected)
    assert upright.flags["C_CONTIGUOUS"]
    assert np.array_equal(read_image(path, path.read_bytes(), upright=True), expected)
    assert suffix == "jpg" or np.array_equal(stored, PIXELS)
    assert stored.shape == PIXELS.shape
    assert image_orientation(path) == orientation
    assert image_size(path, upright=True) == upright.shape[1::-1]
    assert image_size(path) == stored.shape[1::-1]


def tiff(order: str, *entries: bytes, start: int = 8, count: int | None = None) -> bytes:
    number = len(entries) if count is None else count
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HLH", 42, start, number)
    return head + b"".join(entries) + bytes(4)


def entry(order: str, value: int, kind: int = 3, tag: int = 0x0112) -> bytes:
    number = {1: "B3x", 2: "L", 3: "H2x", 4: "L"}[kind]
    return struct.pack(f"{order}HHL{number}", tag, kind, 1, value)


MAKER = entry("<", 7, tag=0x010F)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (tiff("<", entry("<", 6)), 6),
        (tiff(">", entry(">", 6)), 6),
        (tiff("<", MAKER, entry("<", 8)), 8),
        (tiff("<", entry("<", 3, kind=4)), 3),
        (tiff("<", entry("<", 5, kind=1)), 5),
        (tiff("<", entry("<", 6, kind=2)), 1),  # text where a number must be
        (tiff("<", entry("<", 0)), 1),
        (tiff("<", entry("<", 9)), 1),
        (tiff("<", MAKER), 1),
        (tiff("<"), 1),
        (tiff("<", entry("<", 6), start=4000), 1),
        (tiff("<", MAKER, count=500), 1),
        (tiff("<", entry("<", 6))[:14], 1),
        (b"XX" + tiff("<", entry("<", 6))[2:], 1),
        (b"", 1),
        (b"II", 1),
    ],
)
def test_exif_of_any_writer_and_broken_exif(tmp_path: Path, block: bytes, found: int) -> None:
    """Broken EXIF is none: the photo is read as it is stored, and nothing stops or warns."""
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    assert image_orientation(tmp_path / "a.jpg") == found
    write_png(tmp_path / "a.png", PIXELS, colour=2, behind=[(b"eXIf", block)])
    assert image_orientation(tmp_path / "a.png") == found
    for name in ("a.jpg", "a.png"):
        height, width = read_image(tmp_path / name, upright=True).shape[:2]
        assert ((width, height) != PIXELS.shape[1::-1]) == (found > 4)
        assert image_size(tmp_path / name, upright=True) == (width, height)


def test_exif_behind_the_pixels_of_a_png_counts_without_decoding_them(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", PIXELS, colour=2, behind=[(b"eXIf", tiff(">", entry(">", 6)))])
    content = path.read_bytes()
    at = content.index(b"IDAT") + 4
    path.write_bytes(content[:at] + bytes(8) + content[at + 8 :])  # no decoder gets through
    assert image_size(path, upright=True) == PIXELS.shape[:2]
    with pytest.raises(UserError, match=r"a\.png"):
        read_image(path, upright=True)


def test_a_wrong_size_says_that_exif_is_why(tmp_path: Path) -> None:
    height, width = PIXELS.shape[:2]
    path = save_photo(tmp_path / "a.jpg", 6)
    check_size("m.png is", (width, height), path)
    check_size("m.png is", (height, width), path, upright=True)
    with pytest.raises(
        UserError, match=r"orientation is 6, and the mask fits the photo turned upright.*exif_transpose"
    ):
        check_size("m.png is", (height, width), path)
    with pytest.raises(UserError, match=r'orientation is 6, and it is turned upright.*image\.orientation = "stored"'):
        check_size("m.png is", (width, height), path, upright=True)
    with pytest.raises(UserError, match=r"a mask must have the size of its image$"):
        check_size("m.png is", (width, width), path)
