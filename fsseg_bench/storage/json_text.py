"""JSON as records hold it: written with JSON's types only, read only as what later steps can print, hash and count."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from fsseg_bench.storage.files import write_atomic

DEEPEST = 30
"""Levels of nesting; records have five."""
LARGEST = 2**63
"""Whole numbers are below it."""


def write_json(path: Path, obj: Any) -> None:
    """Replaces ``path`` by ``obj`` as indented JSON; numbers that are not finite become null.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    text = json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")


def plain(obj: Any) -> Any:
    """``obj`` with JSON's types only: keys as text, tuples as lists, numpy scalars as numbers, NaN as None.

    Raises:
        TypeError: a value has no JSON form.
    """
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if obj is None or isinstance(obj, (str, bool, int)):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Path):
        return str(obj)
    if callable(getattr(obj, "tolist", None)):  # numpy scalars and arrays, without importing numpy
        return plain(obj.tolist())
    raise TypeError(f"{type(obj).__name__} has no JSON form: {obj!r}")


def strict_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, a key twice, nesting deeper than :data:`DEEPEST`, NaN, infinity, a whole number of 64 bits
            or more, or text that has no UTF-8 form; says which.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant, object_pairs_hook=distinct_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value)
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text, for ``object_pairs_hook``.

    Raises:
        ValueError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _check(value: Any) -> None:
    """Without recursion: the value may be nested as deeply as the parser allows."""
    left = [(value, 0)]
    while left:
        one, depth = left.pop()
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(one, dict):
            left += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            left += [(part, depth + 1) for part in one]
        elif isinstance(one, str):
            if not one.isascii():
                one.encode()  # a lone surrogate; UnicodeEncodeError is a ValueError
        elif isinstance(one, float):
            if not math.isfinite(one):
                raise ValueError("a number is too large")
        elif isinstance(one, int) and not -LARGEST < one < LARGEST:
            raise ValueError("a whole number is too large")
