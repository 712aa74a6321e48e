"""Reads the class masks of SBD (Hariharan et al. 2011), which are structures in MATLAB 5 files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import read_file
from fsseg_bench.errors import UserError

_HEADER = 128
_MOST = 1 << 28
"""Largest uncompressed variable, in bytes."""

_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _UINT8 = 2, 9
_BYTES = 2
"""How the numbers of a uint8 array lie in the file."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


class _Matrix(NamedTuple):
    kind: int
    """MATLAB's class of the array."""
    shape: tuple[int, ...]
    name: str
    rest: Iterator[_Element]
    """What follows the name."""


def read_sbd_labels(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: the field ``GTcls.Segmentation`` of one ``cls/<id>.mat``.

    ``data`` is the file's content where that was read before.

    Raises:
        UserError: the file is missing or not such a file; names it.
    """
    content = read_file(path, "mask") if data is None else data
    try:
        return _segmentation(content)
    except (struct.error, zlib.error, ValueError, StopIteration) as error:
        reason = str(error) or "the file ends early"
        raise UserError(f"{path}: not a class mask of SBD (GTcls.Segmentation): {reason}") from None


def _segmentation(content: bytes) -> UInt8:
    order = _byte_order(content)
    for element in _elements(memoryview(content)[_HEADER:], order):
        matrix = _matrix(_inflated(element, order), order)
        if matrix.name == "GTcls":
            return _labels(_field(matrix, "Segmentation", order))
    raise ValueError("no variable GTcls")


def _byte_order(content: bytes) -> str:
    orders = {b"IM": "<", b"MI": ">"}
    if len(content) < _HEADER or content[126:128] not in orders:
        raise ValueError("not a MATLAB 5 file")
    return orders[content[126:128]]


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """The data elements that follow one another in ``data``."""
    at = 0
    while at < len(data):
        (first,) = struct.unpack_from(f"{order}I", data, at)
        if first >> 16:  # four bytes or less lie in the tag itself
            kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            (size,) = struct.unpack_from(f"{order}I", data, at + 4)
            kind, start = first, at + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > min(end, len(data)):
            raise ValueError("an element is longer than what holds it")
        yield _Element(kind, data[start : start + size])
        at = end


def _inflated(element: _Element, order: str) -> _Element:
    if element.kind != _COMPRESSED:
        return element
    inflate = zlib.decompressobj()
    data = inflate.decompress(element.data, _MOST)
    if not inflate.eof:
        raise ValueError("a compressed variable is cut short or too large")
    return next(_elements(memoryview(data), order))


def _matrix(element: _Element, order: str) -> _Matrix:
    if element.kind != _MATRIX:
        raise ValueError(f"an element of type {element.kind} where an array was expected")
    parts = _elements(element.data, order)
    (flags,) = struct.unpack_from(f"{order}I", next(parts).data)
    shape = np.frombuffer(next(parts).data, dtype=f"{order}i4").tolist()
    if not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    if flags & 0x0800:
        raise ValueError("a complex array")
    return _Matrix(flags & 0xFF, tuple(shape), bytes(next(parts).data).decode("ascii"), parts)


def _field(matrix: _Matrix, field: str, order: str) -> _Matrix:
    if matrix.kind != _STRUCT or matrix.shape != (1, 1):
        raise ValueError(f"{matrix.name} is not a structure of size 1 x 1")
    (width,) = struct.unpack_from(f"{order}i", next(matrix.rest).data)
    if width < 1:
        raise ValueError("field names without a length")
    names = bytes(next(matrix.rest).data)
    for start in range(0, len(names), width):
        element = next(matrix.rest)
        if names[start : start + width].split(b"\0", 1)[0] == field.encode():
            return _matrix(element, order)
    raise ValueError(f"{matrix.name} has no field {field}")


def _labels(matrix: _Matrix) -> UInt8:
    if matrix.kind != _UINT8 or len(matrix.shape) != 2:
        raise ValueError(f"an array of MATLAB's class {matrix.kind} and shape {matrix.shape}, not a uint8 image")
    element = next(matrix.rest)
    if element.kind != _BYTES:
        raise ValueError(f"numbers stored as type {element.kind}")
    return np.ascontiguousarray(np.frombuffer(element.data, np.uint8).reshape(matrix.shape, order="F"))
