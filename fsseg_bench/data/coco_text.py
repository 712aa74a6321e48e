"""Reads the JSON of an instance file of COCO, or says what the file is instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsseg_bench.data.decode import read_json
from fsseg_bench.errors import UserError

SECTIONS = ("images", "annotations", "categories")
_EXPORT = "export it as COCO (instances, with polygons or masks)"
_CONVERT = "fsseg-bench data convert FOLDER makes COCO instances of the folder"
_LISTS: tuple[tuple[set[str], str], ...] = (
    ({"image_id", "category_id", "score"}, "COCO results: predictions alone, without the images and their annotations"),
    ({"image_id", "category_id"}, "a list of annotations alone; images and categories are missing"),
    ({"data", "annotations"}, f"Label Studio's own JSON; {_CONVERT}"),
    ({"data", "completions"}, f"Label Studio's own JSON; {_CONVERT}"),
    ({"annotator", "id"}, f"Label Studio's short JSON (JSON-MIN); {_EXPORT}"),
    ({"image", "annotations"}, f"CreateML's JSON, which holds boxes; {_EXPORT}"),
    ({"data_row"}, f"Labelbox's JSON; {_EXPORT}"),
    ({"name", "labels"}, f"the JSON of BDD100K or Scalabel; {_EXPORT}"),
)
"""Keys of the first entry of a list, and what the list is."""
_OBJECTS: tuple[tuple[set[str], str], ...] = (
    ({"shapes", "imagePath"}, f"labelme's JSON of one image; {_CONVERT}"),
    ({"objects", "size"}, f"Supervisely's JSON of one image; {_CONVERT}"),
    ({"_via_img_metadata"}, f"a project of VGG Image Annotator; {_EXPORT}"),
    ({"items", "categories"}, f"Datumaro's JSON; {_EXPORT}"),
    ({"item", "annotations"}, f"V7's JSON of one image; {_EXPORT}"),
    ({"data_row"}, f"Labelbox's JSON; {_EXPORT}"),
)
"""Keys of an object, and what it is."""
_ANNOTATIONS: tuple[tuple[set[str], str], ...] = (
    ({"caption"}, "COCO's captions, which have no outlines; take the file instances_*.json"),
    ({"segments_info"}, "COCO's panoptic annotations, whose masks are PNG files; take the file instances_*.json"),
)
"""Keys of the first annotation, if it has no segmentation, and what the file is."""


def read_table(path: Path) -> dict[str, Any]:
    """The content of an instance file.

    Raises:
        UserError: unreadable, not JSON, or not an instance file; names the file, and the format where it is known.
    """
    table = read_json(path)
    if found := _another_format(table):
        raise UserError(f"{path}: not an instance file of COCO: it looks like {found}")
    if not isinstance(table, dict):
        raise UserError(f"{path}: not an instance file of COCO: the top level is not an object with {_listed()}")
    for key in SECTIONS:
        entries = table.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(
                f"{path}: not an instance file of COCO: {key!r} is missing or not a list of objects (expected: "
                f"{_listed()})"
            )
    return table


def _listed() -> str:
    return ", ".join(SECTIONS)


def _another_format(table: Any) -> str | None:
    """What a file is that is no instance file, where its keys tell."""
    if isinstance(table, list):
        return _of_keys(_LISTS, table[0] if table else None)
    if not isinstance(table, dict):
        return None
    entries = table.get("annotations")
    first = entries[0] if isinstance(entries, list) and entries else None
    if isinstance(first, dict) and "segmentation" not in first and (found := _of_keys(_ANNOTATIONS, first)):
        return found
    if "images" in table and "categories" in table:
        return None if "annotations" in table else "COCO's list of images without annotations, as of its test sets"
    values = list(table.values())
    if values and all(isinstance(value, dict) and "regions" in value for value in values):
        return f"the JSON of VGG Image Annotator; {_EXPORT}"
    return _of_keys(_OBJECTS, table)


def _of_keys(known: tuple[tuple[set[str], str], ...], entry: Any) -> str | None:
    return next((what for keys, what in known if keys <= entry.keys()), None) if isinstance(entry, dict) else None
