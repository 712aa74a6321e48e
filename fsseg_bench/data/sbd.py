"""Reads the class masks of SBD (Hariharan et al. 2011), which are structures in MATLAB 5 files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import read_file
from fsseg_bench.errors import UserError

_HEADER = 128
_MOST = 1 << 28
"""Largest uncompressed variable, in bytes."""

_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Array class to numpy type."""
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How the numbers lie in the file; MATLAB takes the smallest type that holds them all."""


class FormatError(ValueError):
    """The bytes are not what was looked for."""


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

    Args:
        path: the file.
        data: its content, where that was read before.

    Raises:
        UserError: the file is missing or not such a file; names it.
    """
    try:
        labels = read_field(read_file(path, "mask") if data is None else data, "GTcls", "Segmentation")
    except FormatError as error:
        raise UserError(f"{path}: not a class mask of SBD (GTcls.Segmentation): {error}") from None
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is {labels.dtype} {labels.shape}, not a uint8 image")
    return np.ascontiguousarray(labels.astype(np.uint8, copy=False))


def read_field(content: bytes, variable: str, field: str) -> npt.NDArray[np.generic]:
    """The array ``variable.field`` of a MATLAB 5 file, in its own shape and type.

    The variable must be a structure of size 1 x 1, the field a full real numeric array.

    Raises:
        FormatError: not such a file, or damaged, or it has no such variable, field or array.
    """
    try:
        order = _byte_order(content)
        for element in _elements(memoryview(content)[_HEADER:], order):
            matrix = _matrix(_inflated(element, order), order)
            if matrix.name == variable:
                return _numbers(_field(matrix, variable, field, order), order)
    except (struct.error, zlib.error, ValueError, StopIteration) as error:
        raise FormatError(str(error) or "the file ends early") from error
    raise FormatError(f"no variable {variable}")


def _byte_order(content: bytes) -> str:
    orders = {b"IM": "<", b"MI": ">"}
    if len(content) < _HEADER or content[126:128] not in orders:
        raise FormatError("not a MATLAB 5 file")
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
            raise FormatError("an element is longer than what holds it")
        yield _Element(kind, data[start : start + size])
        at = end


def _inflated(element: _Element, order: str) -> _Element:
    if element.kind != _COMPRESSED:
        return element
    inflate = zlib.decompressobj()
    data = inflate.decompress(element.data, _MOST)
    if not inflate.eof:
        raise FormatError("a compressed variable is cut short or too large")
    return next(_elements(memoryview(data), order))


def _matrix(element: _Element, order: str) -> _Matrix:
    if element.kind != _MATRIX:
        raise FormatError(f"an element of type {element.kind} where an array was expected")
    parts = _elements(element.data, order)
    (flags,) = struct.unpack_from(f"{order}I", next(parts).data)
    shape = np.frombuffer(next(parts).data, dtype=f"{order}i4").tolist()
    if not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise FormatError(f"an array of shape {shape}")
    if flags & 0x0800:
        raise FormatError("a complex array")
    return _Matrix(flags & 0xFF, tuple(shape), bytes(next(parts).data).decode("ascii"), parts)


def _field(matrix: _Matrix, variable: str, field: str, order: str) -> _Matrix:
    if matrix.kind != _STRUCT or matrix.shape != (1, 1):
        raise FormatError(f"{variable} is not a structure of size 1 x 1")
    (width,) = struct.unpack_from(f"{order}i", next(matrix.rest).data)
    if width < 1:
        raise FormatError("field names without a length")
    names = bytes(next(matrix.rest).data)
    for start in range(0, len(names), width):
        element = next(matrix.rest)
        if names[start : start + width].split(b"\0", 1)[0] == field.encode():
            return _matrix(element, order)
    raise FormatError(f"{variable} has no field {field}")


def _numbers(matrix: _Matrix, order: str) -> npt.NDArray[np.generic]:
    if matrix.kind not in _CLASSES:
        raise FormatError(f"an array of class {matrix.kind}, not of numbers")
    element = next(matrix.rest)
    if element.kind not in _STORED:
        raise FormatError(f"numbers stored as type {element.kind}")
    values = np.frombuffer(element.data, dtype=f"{order}{_STORED[element.kind]}")
    return values.astype(_CLASSES[matrix.kind]).reshape(matrix.shape, order="F")
