"""Parses and checks an instance file of COCO, and draws its instances as run lengths with pycocotools."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from fsseg_bench.data.cachefile import Arrays
from fsseg_bench.errors import UserError
from fsseg_bench.paths import one_line, regular

_LARGEST = 65_535
"""Largest image side and, with either sign, largest polygon coordinate, in pixels."""

_MOST = 2**63
"""Ids are below it."""

_Key = tuple[int, int, int]
"""Image number, category id, crowd (0 or 1)."""


def parse_instances(path: Path) -> Arrays:
    """The content of an instance file as the arrays that :class:`fsseg_bench.data.instances.Instances` holds.

    Raises:
        UserError: unreadable, not JSON, not an instance file of COCO, or a wrong entry; names the file and entry.
    """
    table = _read(path)
    images = sorted(_entries(table, "images", path), key=lambda image: str(image.get("file_name")))
    numbers, sizes = _check_images(images, path)
    categories = _check_categories(_entries(table, "categories", path), path)
    drawn: dict[_Key, list[Any]] = defaultdict(list)
    for entry in _entries(table, "annotations", path):
        where = f"annotation {entry.get('id')}"
        number = numbers.get(_whole(entry, "image_id", path, where))
        category = _whole(entry, "category_id", path, where)
        if number is None:
            _refuse(path, where, f"image_id {entry['image_id']} is not among the images")
        if category not in categories:
            _refuse(path, where, f"category_id {category} is not among the categories")
        height, width = sizes[number]
        try:
            region = _draw(entry.get("segmentation"), height, width)
        except (ValueError, TypeError, OverflowError) as error:
            _refuse(path, where, f"wrong segmentation: {error}")
        if region is not None:
            drawn[number, category, int(bool(entry.get("iscrowd", 0)))].append(region)
    names = [image["file_name"] for image in images]
    return _arrays(categories, names, sizes, drawn)


def _read(path: Path) -> dict[str, Any]:
    try:
        with regular(path).open(encoding="utf-8") as file:
            table = json.load(file, parse_constant=_no_constant)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}; download the file again") from None
    if not isinstance(table, dict):
        raise UserError(f"{path}: not an instance file of COCO: the top level is not an object")
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _entries(table: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = table.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(
            f"{path}: not an instance file of COCO: {key!r} is missing or not a list of objects "
            "(expected: images, annotations, categories)"
        )
    return entries


def _refuse(path: Path, where: str, what: str) -> NoReturn:
    raise UserError(f"{path}: {where}: {what}")


def _whole(entry: dict[str, Any], key: str, path: Path, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int or not -_MOST < value < _MOST:
        _refuse(path, where, f"{key} is {value!r}; it must be a whole number")
    return value


def _name(entry: dict[str, Any], key: str, path: Path) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value or not one_line(value):
        _refuse(path, f"entry {entry.get('id')}", f"{key} is {value!r}; it must be text in one line")
    return value


def _check_images(images: list[dict[str, Any]], path: Path) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """Image id to number, and (height, width) by number."""
    numbers: dict[int, int] = {}
    sizes: list[tuple[int, int]] = []
    names = set[str]()
    for number, image in enumerate(images):
        name = _name(image, "file_name", path)
        key = _whole(image, "id", path, f"image {name}")
        if key in numbers or name in names:
            _refuse(path, f"image {name}", f"its name or its id {key} occurs twice")
        if name.startswith("/") or ".." in Path(name).parts:
            _refuse(path, f"image {name}", "the name leads out of the image folder")
        size = [_whole(image, side, path, f"image {name}") for side in ("height", "width")]
        if not all(1 <= side <= _LARGEST for side in size):
            _refuse(path, f"image {name}", f"height and width are {size[0]} and {size[1]}")
        numbers[key] = number
        names.add(name)
        sizes.append((size[0], size[1]))
    return numbers, sizes


def _check_categories(entries: list[dict[str, Any]], path: Path) -> dict[int, str]:
    """Category id to name."""
    categories = {_whole(entry, "id", path, "category"): _name(entry, "name", path) for entry in entries}
    if len(set(categories.values())) < len(entries):
        raise UserError(f"{path}: a category's id or name occurs twice")
    return categories


def _draw(segmentation: Any, height: int, width: int) -> Any:
    """One instance as pycocotools' run lengths; None when it has no outline.

    Raises:
        ValueError, TypeError: not a segmentation of this image.
    """
    if isinstance(segmentation, dict):
        return coco_mask.frPyObjects(run_lengths(segmentation, height, width), height, width)
    if not isinstance(segmentation, list):
        raise ValueError("neither polygons nor run lengths")
    for polygon in segmentation:
        if len(polygon) % 2:
            raise ValueError("a polygon has an odd number of coordinates")
        if polygon and not -_LARGEST <= min(polygon) <= max(polygon) <= _LARGEST:
            raise ValueError("a polygon lies far outside the image")
    # Less than three points have no area, and pycocotools takes four numbers for a box.
    outlines = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not outlines:
        return None
    parts = coco_mask.frPyObjects(outlines, height, width)
    return parts[0] if len(parts) == 1 else coco_mask.merge(parts)


def _arrays(
    categories: dict[int, str], names: list[str], sizes: list[tuple[int, int]], drawn: dict[_Key, list[Any]]
) -> Arrays:
    keys, counts, pixels = [], [], []
    for key in sorted(drawn):
        parts = drawn[key]
        union = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
        if area := int(coco_mask.area(union)):
            keys.append(key)
            counts.append(union["counts"])
            pixels.append(area)
    rows = np.array(keys, dtype=np.int64).reshape(-1, 3)
    return {
        "category_ids": np.array(list(categories), dtype=np.int64),
        "category_names": np.array(list(categories.values()), dtype=np.str_),
        "names": np.array(names, dtype=np.str_),
        "sizes": np.array(sizes, dtype=np.int64).reshape(-1, 2),
        "starts": np.searchsorted(rows[:, 0], np.arange(len(names) + 1)).astype(np.int64),
        "regions": np.column_stack([rows[:, 1:], np.array(pixels, dtype=np.int64)]),
        "offsets": np.cumsum([0, *map(len, counts)], dtype=np.int64),
        "counts": np.frombuffer(b"".join(counts), dtype=np.uint8),
    }


def run_lengths(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """``{"size": [height, width], "counts": [...]}`` with plain counts, which fill the image exactly.

    ``counts`` of ``segmentation`` are a list of numbers, or COCO's compressed text; the image's sides are in pixels.

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
