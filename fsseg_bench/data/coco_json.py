"""Checks an instance file of COCO, and unites its instances, drawn as run lengths, by image and category."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from fsseg_bench.data.cachefile import Arrays
from fsseg_bench.data.coco_boxes import Boxes
from fsseg_bench.data.coco_notes import NOWHERE, Kind, Notes
from fsseg_bench.data.coco_text import read_table
from fsseg_bench.data.outlines import LARGEST, draw
from fsseg_bench.errors import UserError
from fsseg_bench.paths import one_line

_MOST = 2**63
"""Ids of categories are below it."""
_MANY = 5
_SPECK = 1
"""Pixels that a polygon covers whose coordinates are shares of the image's sides."""

_Key = tuple[int, int, int]
"""Image number, category id, crowd (0 or 1)."""


def parse_instances(path: Path, *, crops: bool = False) -> Arrays:
    """The content of an instance file as the arrays that :class:`fsseg_bench.data.instances.Instances` holds.

    Annotations without an outline are left out, and ``iscrowd`` may be text or true and false: each is noted. With
    ``crops``, an annotation is a part of an object, and the images are the crops to the objects' boxes
    (:class:`fsseg_bench.data.coco_boxes.Boxes`).

    Raises:
        UserError: unreadable, not JSON, not an instance file of COCO, or a wrong entry; names the file and entry.
    """
    table = read_table(path)
    for image in table["images"]:
        if "file_name" not in image and isinstance(address := image.get("coco_url"), str):  # LVIS
            image["file_name"] = "/".join(address.split("/")[-2:])
    images = sorted(table["images"], key=lambda image: str(image.get("file_name")))
    annotations = table["annotations"]
    numbers, sizes = _check_images(images, path)
    notes = Notes()
    used = Counter(_category(entry, path) for entry in annotations)
    categories = _check_categories(table["categories"], used, notes, path)
    drawn: dict[_Key, list[Any]] = defaultdict(list)
    names = [image["file_name"] for image in images]
    boxes = _boxes(annotations, numbers, names, sizes, path) if crops else None
    for entry in annotations:
        number, category = numbers.get(_plain(entry.get("image_id"))), _plain(entry["category_id"])
        if number is None:
            _refuse_strays(annotations, numbers, path)
        if category not in categories:
            _refuse(path, _where(entry), f"category_id {category} is not among the categories")
        height, width = sizes[number]
        try:
            shown = draw(entry.get("segmentation"), height, width)
        except (ValueError, TypeError, OverflowError) as error:
            _refuse(path, _where(entry), f"wrong segmentation: {error}")
        crowd, plain = _crowd(entry, path)
        whole, boxed = shown, True
        if boxes is not None:
            part = number, _plain(entry["object"])
            shown, number = boxes.cut(whole, *part), boxes.place(*part)
            boxed = number != NOWHERE
        said = {
            Kind.NO_OUTLINE: shown.region is None,
            Kind.NO_PIXEL: shown.region is not None and not whole.pixels,
            Kind.NO_BOX: not boxed,
            Kind.OUTSIDE: boxed and whole.pixels > 0 and not shown.pixels,
            Kind.PARTS: shown.parts_left_out,
            Kind.FORM: shown.another_form,
            Kind.FLAG: not plain,
            Kind.CROWD: crowd and shown.pixels > 0,
        }
        for kind, holds in said.items():
            if holds:
                notes.add(kind, number, category, entry.get("id"))
        if shown.pixels:
            drawn[number, category, int(crowd)].append(shown.region)
    if boxes is not None:
        names, sizes = boxes.crop_names, boxes.crop_sizes
    arrays = _arrays(categories, names, sizes, drawn) | ({} if boxes is None else boxes.to_arrays())
    if annotations and arrays["regions"][:, 2].max(initial=0) <= _SPECK:
        outlines = len(annotations) - sum(note.kind is Kind.NO_OUTLINE for note in notes)
        why = "the coordinates must be pixels of the image, not shares of its sides from 0 to 1"
        if not outlines:
            why = "none has an outline, and boxes or key points are not enough: export polygons or masks"
        raise UserError(f"{path}: none of its {len(annotations):,} annotations covers more than a pixel; {why}")
    counts = np.array([used[category] for category in categories], dtype=np.int64)
    return {**arrays, **notes.to_arrays(), "category_counts": counts}


def _boxes(
    annotations: list[dict[str, Any]],
    numbers: dict[Any, int],
    names: list[str],
    sizes: list[tuple[int, int]],
    path: Path,
) -> Boxes:
    """The objects whose parts are annotated."""
    boxes = Boxes(names, sizes)
    for entry in annotations:
        number = numbers.get(_plain(entry.get("image_id")))
        if number is None:
            _refuse_strays(annotations, numbers, path)
        if "object" not in entry or "object_bbox" not in entry:
            lacking = "object" if "object" not in entry else "object_bbox"
            told = 'with data.crop = "object" each annotation is a part, and says the number and the box of its object'
            _refuse(path, _where(entry), f"has no {lacking}; {told}")
        try:
            boxes.add(number, entry, _whole(entry, "object", path, _where(entry)))
        except ValueError as error:
            _refuse(path, _where(entry), str(error))
    boxes.close()
    return boxes


def _refuse(path: Path, where: str, what: str) -> NoReturn:
    raise UserError(f"{path}: {where}: {what}")


def _where(entry: dict[str, Any]) -> str:
    return f"annotation {entry.get('id')}"


def _refuse_strays(annotations: list[dict[str, Any]], numbers: dict[Any, int], path: Path) -> NoReturn:
    """Says which annotations are of no image."""
    strays = [entry for entry in annotations if _plain(entry.get("image_id")) not in numbers]
    more = ", ".join(str(entry.get("id")) for entry in strays[1:_MANY])
    others = f", and so {len(strays) - 1:,} more ({more}{', ...' if len(strays) > _MANY else ''})" if more else ""
    value = strays[0].get("image_id")
    _refuse(path, _where(strays[0]), f"image_id {value!r} is not among the images{others}; take them out of the file")


def _plain(value: Any) -> Any:
    """An id as all ids are compared: a whole number where it is one as text (``"7"``) or a float (``7.0``)."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        return int(value) if value.isdecimal() and value.isascii() and len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def _whole(entry: dict[str, Any], key: str, path: Path, where: str) -> int:
    value = _plain(entry.get(key))
    if type(value) is not int or not -_MOST < value < _MOST:
        _refuse(path, where, f"{key} is {repr(entry.get(key))[:40]}; it must be a whole number")
    return value


def _category(entry: dict[str, Any], path: Path) -> int:
    return _whole(entry, "category_id", path, _where(entry))


def _crowd(entry: dict[str, Any], path: Path) -> tuple[bool, bool]:
    """Whether an annotation is a crowd, and whether that is written as COCO writes it."""
    value = entry.get("iscrowd", 0)
    if type(value) is int and value in {0, 1}:
        return value == 1, True
    if value is None:
        return False, False
    if isinstance(value, bool | float) and value in {0, 1}:
        return value == 1, False
    if isinstance(value, str) and value.strip() in {"0", "1"}:
        return value.strip() == "1", False
    _refuse(path, _where(entry), f"iscrowd is {repr(value)[:40]}; it must be 0 (an object) or 1 (a crowd region)")


def _name(entry: dict[str, Any], key: str, path: Path, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip() or not one_line(value):
        _refuse(path, where, f"{key} is {value!r}; it must be text in one line")
    return value


def _check_images(images: list[dict[str, Any]], path: Path) -> tuple[dict[Any, int], list[tuple[int, int]]]:
    """Image id to number, and (height, width) by number."""
    if not images:
        raise UserError(f"{path}: lists no images; take the file away, or export it again")
    numbers: dict[Any, int] = {}
    sizes: list[tuple[int, int]] = []
    names: dict[str, Any] = {}
    for number, image in enumerate(images):
        name = _name(image, "file_name", path, f"image {image.get('id')}")
        where = f"image {name}"
        key = _plain(image.get("id"))
        if key is None:
            _refuse(path, where, f"id is {image.get('id')!r}; it must be a whole number or text")
        if name in names:
            _refuse(path, where, f"is listed twice, with the ids {names[name]} and {key}; unite the two")
        if key in numbers:
            _refuse(path, where, f"its id {key} occurs twice; {images[numbers[key]]['file_name']} has it, too")
        size = [_whole(image, side, path, where) for side in ("height", "width")]
        if not all(1 <= side <= LARGEST for side in size):
            _refuse(path, where, f"height and width are {size[0]} and {size[1]}; they must be the image's, in pixels")
        numbers[key] = number
        names[name] = key
        sizes.append((size[0], size[1]))
    return numbers, sizes


def _check_categories(entries: list[dict[str, Any]], used: Counter[int], notes: Notes, path: Path) -> dict[int, str]:
    """Category id to name. Of categories with one name, those without annotations are left out and noted."""
    if not entries:
        raise UserError(f"{path}: lists no categories, so that no class has a name")
    names: dict[int, str] = {}
    for entry in entries:
        key = _whole(entry, "id", path, f"category {entry.get('name')}")
        name = _name(entry, "name", path, f"category {key}")
        if key in names:
            _refuse(path, f"category {key}", f"the id occurs twice, as {names[key]!r} and {name!r}")
        names[key] = name
    kept: dict[int, str] = {}
    for name in dict.fromkeys(names.values()):
        same = [key for key, other in names.items() if other == name]
        full = [key for key in same if used[key]] or same[:1]
        if len(full) > 1:
            ids = " and ".join(map(str, full))
            _refuse(path, f"categories {ids}", f"are all called {name!r} and have annotations; rename or unite them")
        kept[full[0]] = name
        for key in same:
            if key not in full:
                notes.add(Kind.CATEGORY, NOWHERE, key, name)
    return {key: name for key, name in names.items() if key in kept}


def _arrays(
    categories: dict[int, str], names: list[str], sizes: list[tuple[int, int]], drawn: dict[_Key, list[Any]]
) -> Arrays:
    keys, counts, pixels = [], [], []
    for key in sorted(drawn):
        parts = drawn[key]
        union = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
        keys.append(key)
        counts.append(union["counts"])
        pixels.append(int(coco_mask.area(union)))
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
