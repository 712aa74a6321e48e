"""Names the tool that a folder comes from, and what to do with what it holds, where it cannot be read as it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from fsseg_bench.data.decode import read_json, read_text
from fsseg_bench.data.files import is_hidden, suffix_of
from fsseg_bench.errors import UserError

_MOST = 2000
"""Files that are looked at."""
_LOOKED_INTO = 20
_WORDS_OF_BOX = 5
_LARGEST = 2**28
"""Bytes of a JSON file that is read only to name its tool."""
_NUMBERS = re.compile(r"\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}", re.IGNORECASE)

CONVERT = "convert"
"""What to do with files that ``fsseg-bench data convert`` reads."""
CONVERTED = ("labelme", "Supervisely", "Label Studio", "YOLO")
"""The tools of such files."""


def files_below(root: Path) -> Iterator[Path]:
    """All files in ``root`` and its folders, sorted by name in each; hidden names are left out. No such folder: none.

    Raises:
        UserError: a folder cannot be looked into.
    """
    yield from _below(root, set())


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in seen:
        return  # a link that leads back
    seen.add(place)
    try:
        found = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{folder}: cannot be looked into: {error.strerror or error}") from None
    yield from (path for path in found if not path.is_dir())
    for path in found:
        if path.is_dir():
            yield from _below(path, seen)


def is_labelme(table: Any) -> bool:
    """Whether a JSON file is one image of labelme."""
    return isinstance(table, dict) and isinstance(table.get("shapes"), list) and "imagePath" in table


def is_supervisely(table: Any) -> bool:
    """Whether a JSON file is one image of Supervisely."""
    return isinstance(table, dict) and isinstance(table.get("objects"), list) and isinstance(table.get("size"), dict)


def is_label_studio(table: Any) -> bool:
    """Whether a JSON file is Label Studio's list of tasks."""
    first = table[0] if isinstance(table, list) and table else None
    return isinstance(first, dict) and "data" in first and ("annotations" in first or "completions" in first)


def is_yolo(text: str) -> bool:
    """Whether the lines of a text file are objects of YOLO: a class's number and coordinates."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return bool(lines) and all(_NUMBERS.fullmatch(line) for line in lines)


def tool_of(root: Path) -> tuple[str, str] | None:
    """The tool that the files in ``root`` come from, and what to do (or CONVERT); None where none is known by them."""
    files = list(islice(files_below(root), _MOST))
    for path in islice((path for path in files if suffix_of(path.name) == ".json"), _LOOKED_INTO):
        try:
            table = read_json(path) if path.stat().st_size < _LARGEST else None
        except (UserError, OSError):
            continue
        for name, fits in _JSON.items():
            if fits(table):
                return name, CONVERT if name in CONVERTED else _ADVICE[name]
    for path in islice((path for path in files if suffix_of(path.name) == ".xml"), _LOOKED_INTO):
        name = _of_xml(path)
        if name:
            return name, _ADVICE[name]
    lines: list[str] = []
    for path in (path for path in files if suffix_of(path.name) == ".txt"):
        with suppress(UserError):
            if is_yolo(text := read_text(path, "file")):
                lines += filter(str.strip, text.splitlines())
    if lines and all(len(line.split()) == _WORDS_OF_BOX for line in lines):
        return "YOLO (boxes)", _BOXES
    return ("YOLO", CONVERT) if lines else None


def said_of_tool(root: Path) -> UserError | None:
    """What to say of files of a labelling tool that are not read as they are; None where there are none."""
    if (tool := tool_of(root)) is None:
        return None
    name, advice = tool
    if advice == CONVERT:
        advice = f"fsseg-bench data convert {shlex.quote(str(root))} writes them as COCO instances, which are read"
    return UserError(f"{root}: holds files of {name}, which are not read as they are: {advice}")


def _of_xml(path: Path) -> str:
    try:
        text = read_text(path, "file")[:20_000]
    except UserError:
        return ""
    if "<annotations" in text and ("<image " in text or "<track" in text or "<meta>" in text):
        return "CVAT's XML"
    return "VOC's XML" if "<annotation" in text and "<object>" in text else ""


def _is_coco(table: Any) -> bool:
    return isinstance(table, dict) and all(
        isinstance(table.get(k), list) for k in ("images", "annotations", "categories")
    )


def _is_via(table: Any) -> bool:
    tables = table.get("_via_img_metadata", table) if isinstance(table, dict) else {}
    first = next(iter(tables.values()), None) if isinstance(tables, dict) else None
    return isinstance(first, dict) and "regions" in first and "filename" in first


def _is_datumaro(table: Any) -> bool:
    return isinstance(table, dict) and isinstance(table.get("items"), list) and "categories" in table


_JSON: dict[str, Callable[[Any], bool]] = {
    "labelme": is_labelme,
    "Label Studio": is_label_studio,
    "Supervisely": is_supervisely,
    "COCO": _is_coco,
    "VGG Image Annotator": _is_via,
    "Datumaro": _is_datumaro,
}
_BOXES = (
    "these files hold bounding boxes, and a box is no mask. Export polygons or masks: from CVAT 'Segmentation mask "
    "1.1' or 'COCO 1.0', from Roboflow 'COCO segmentation', from labelme by its labelme2voc.py, which makes "
    "SegmentationClass/"
)
_ADVICE = {
    "COCO": "put the file to annotations/instances_all.json, and the images into images/ or beside annotations/",
    "VGG Image Annotator": "export the annotations as COCO (Annotation > Export as COCO), and put the file to "
    "annotations/instances_all.json",
    "Datumaro": "export as COCO: datum convert -if datumaro -f coco_instances -- --save-media",
    "CVAT's XML": "export the task again as 'COCO 1.0' or 'Segmentation mask 1.1', and unpack that",
    "VOC's XML": _BOXES,
}
