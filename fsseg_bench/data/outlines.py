"""Draws the segmentation of one annotation of COCO, as run lengths, with pycocotools."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

LARGEST = 65_535
"""Largest image side and, with either sign, largest polygon coordinate, in pixels."""


class Drawn(NamedTuple):
    """What a segmentation shows."""

    region: dict[str, Any] | None
    """Compressed run lengths as pycocotools has them; None where there is no outline."""
    pixels: int
    """Their number; 0 too where all of the outline lies outside of the image."""
    another_form: bool
    """Whether it is not written as COCO writes it: one flat polygon, points one by one, run lengths in a list."""
    parts_left_out: bool
    """Whether some polygons, not all, have less than three points."""


def draw(segmentation: Any, height: int, width: int) -> Drawn:
    """The segmentation of an annotation of an image of ``height`` x ``width`` pixels.

    Nothing (null, ``{}``, ``[]``) and polygons of less than three points, such as the corners of a box, have no
    outline: pycocotools alone would take four numbers for a box.

    Raises:
        ValueError: not a segmentation of this image.
    """
    if not segmentation and (segmentation is None or isinstance(segmentation, dict | list)):
        return Drawn(None, 0, another_form=False, parts_left_out=False)
    if not isinstance(segmentation, dict | list):
        raise ValueError(f"{str(segmentation)[:40]!r} is neither polygons nor run lengths")
    another = False
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    elif _is_number(segmentation[0]) or _are_points(segmentation):
        segmentation, another = [segmentation], True
    elif isinstance(segmentation[0], dict):
        another = True
    outlines, short, lengths = [], 0, []
    for part in segmentation:
        if isinstance(part, dict):
            lengths.append(run_lengths(part, height, width))
            continue
        polygon = _polygon(part)
        another |= polygon is not part
        if len(polygon) >= 6:
            outlines.append(polygon)
        else:
            short += bool(polygon)
    # pycocotools draws a list of one kind at a time
    regions = [r for parts in (outlines, lengths) if parts for r in coco_mask.frPyObjects(parts, height, width)]
    if not regions:
        return Drawn(None, 0, another, parts_left_out=False)
    region = regions[0] if len(regions) == 1 else coco_mask.merge(regions)
    return Drawn(region, int(coco_mask.area(region)), another, bool(short))


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


def _are_points(parts: list[Any]) -> bool:
    """Whether these are the points of one polygon, as pairs or as objects with x and y, and no polygons."""
    return len(parts) >= 3 and all(map(_pair, parts))


def _pair(point: Any) -> list[float] | None:
    pair = [point["x"], point["y"]] if isinstance(point, dict) and {"x", "y"} <= point.keys() else point
    return pair if isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) else None


def _polygon(part: Any) -> list[float]:
    """The coordinates of a polygon, x and y in turn; the list itself where it is in that form."""
    if not isinstance(part, list):
        raise ValueError(f"a polygon is {str(part)[:40]!r}; it must be a list of numbers")
    polygon: list[float] = [v for point in part for v in _pair(point) or ()] if _are_points(part) else part
    if not set(map(type, polygon)) <= {int, float}:
        wrong = next(value for value in polygon if not _is_number(value))
        raise ValueError(f"a coordinate is {str(wrong)[:40]!r}, which is not a number")
    if len(polygon) % 2:
        raise ValueError("a polygon has an odd number of coordinates")
    if polygon and (not -LARGEST <= min(polygon) <= max(polygon) <= LARGEST or math.isnan(math.fsum(polygon))):
        raise ValueError("a polygon lies far outside the image, or a coordinate is NaN")
    return polygon


def run_lengths(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """``{"size": [height, width], "counts": [...]}`` with plain counts, which fill the image exactly.

    ``counts`` of ``segmentation`` are a list of numbers, or COCO's compressed text; the image's sides are in pixels.

    Raises:
        ValueError: another size, wrong counts, or counts that do not add up to height x width.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        swapped = " (height and width are swapped)" if size == [width, height] else ""
        raise ValueError(f"its size {size} is not the image's [{height}, {width}]{swapped}")
    if isinstance(counts, str):
        counts = _decompress(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("its counts are not whole numbers from 0")
    if sum(counts) != height * width:
        raise ValueError(f"its counts add up to {sum(counts)}, not {height} x {width}")
    return {"size": [height, width], "counts": counts}


def encode_mask(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask (H, W), as JSON takes them."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


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
