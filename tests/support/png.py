"""A PNG reader and a writer of a few lines that share nothing with Pillow: the reference for mask values."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
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


def write_png(
    path: Path,
    samples: npt.NDArray[np.integer],
    depth: int = 8,
    colour: int = 0,
    *,
    interlaced: bool = False,
    before: Sequence[tuple[bytes, bytes]] = (),
    behind: Sequence[tuple[bytes, bytes]] = (),
) -> Path:
    """A PNG of ``samples`` exactly as given, (H, W) or (H, W, channels); returns its path.

    Args:
        path: of the file, whose folder is made.
        samples: whole numbers that ``depth`` bits hold.
        depth: bits a sample: 1, 2, 4, 8 or 16.
        colour: PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        interlaced: in Adam7's seven passes.
        before: further chunks (name and body) ahead of the pixels: PLTE, tRNS, gAMA, ...
        behind: the same behind them.
    """
    height, width = samples.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, step_x, step_y in passes:
        part = samples[y::step_y, x::step_x]
        if part.size:
            rows += b"".join(b"\0" + _bits(row.reshape(-1), depth) for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), *behind, (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    )
    return path


def _bits(samples: npt.NDArray[np.integer], depth: int) -> bytes:
    """Samples one behind the other, the highest bit first, filled up to whole bytes."""
    places = np.arange(depth)[::-1]
    return np.packbits((samples[:, None] >> places & 1).astype(np.uint8).reshape(-1)).tobytes()
