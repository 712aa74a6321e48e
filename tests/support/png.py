"""A PNG reader of a few lines that shares nothing with Pillow: the reference for mask values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt


def read_indices(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: the bytes of an 8-bit PNG with one channel (palette or grey), not interlaced."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    width = height = 0
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
            assert colour in {0, 3}
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(height, width + 1)
    above = [0] * width
    image = []
    for row in rows.tolist():
        above = _unfilter(row[0], row[1:], above)
        image.append(above)
    return np.array(image, dtype=np.uint8)


def _unfilter(method: int, row: list[int], above: list[int]) -> list[int]:
    left = corner = 0
    for x, up in enumerate(above):
        guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[method]
        left, corner = (row[x] + guess) % 256, up
        row[x] = left
    return row


def _paeth(left: int, up: int, corner: int) -> int:
    base = left + up - corner
    distances = (abs(base - left), abs(base - up), abs(base - corner))
    return (left, up, corner)[distances.index(min(distances))]
