"""JSON that others wrote: only what every later step can print, hash and count."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

DEEPEST = 30
"""Levels of nesting; records have five."""
LARGEST = 2**63
"""Whole numbers are below it."""


def strict_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, a key twice, nesting deeper than :data:`DEEPEST`, NaN, infinity, a whole number of 64 bits
            or more, or text that has no UTF-8 form; says which.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value)
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
