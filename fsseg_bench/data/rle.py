"""Run lengths as COCO writes them, checked before C code that trusts them sees them."""

from __future__ import annotations

from typing import Any


def run_lengths(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """``{"size": [height, width], "counts": [...]}`` with plain counts, which fill the image exactly.

    Args:
        segmentation: an object with ``size`` and ``counts``: a list of numbers, or COCO's compressed text.
        height: height of the image, in pixels.
        width: width of the image, in pixels.

    Raises:
        ValueError: another size, wrong counts, or counts that do not add up to height x width.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"its size {size} is not the image's [{height}, {width}]")
    if isinstance(counts, str):
        counts = _decompress(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("its counts are not whole numbers from 0")
    if sum(counts) != height * width:
        raise ValueError(f"its counts add up to {sum(counts)}, not {height} x {width}")
    return {"size": [height, width], "counts": counts}


def _decompress(text: str) -> list[int]:
    """The counts of COCO's compressed text.

    Each number is written in groups of 5 bits, lowest first, as characters from ``"0"``; bit 6 says that more
    follow, and the last group's bit 5 is the sign. From the fourth number on it is the difference to the
    number before the previous one.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"its counts hold the character {character!r}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("its counts end in the middle of a number")
    return counts
