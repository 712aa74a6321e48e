"""Reads the files of labelling tools: labelme, Supervisely, Label Studio, YOLO."""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt

from fsseg_bench.data.decode import IMAGE_SUFFIXES, image_size, read_json, read_text
from fsseg_bench.data.files import find_file, suffix_of
from fsseg_bench.data.outlines import encode_mask
from fsseg_bench.data.own.converted import (
    Labelled,
    Reading,
    Shape,
    ellipse,
    placed,
    polygon,
    rectangle,
    with_holes,
)
from fsseg_bench.data.own.tools import is_label_studio, is_labelme, is_supervisely, is_yolo
from fsseg_bench.errors import UserError

_NO_CLASS = {"__ignore__", "_background_"}
_NO_AREA = "shapes that are no areas (points, lines) are left out"
_NO_OUTLINE = "outlines of less than three points are left out"
_BOXES = "rectangles are taken as areas: where they are boxes around objects, their masks are boxes too"
WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError, StopIteration, zlib.error)
"""What a reader raises where a tool's file is not as the tool writes it."""


def labelme(reading: Reading) -> Iterator[Labelled]:
    """One JSON file an image."""
    for path, table in _json_files(reading, is_labelme):
        image = reading.image(path, str(table["imagePath"]), [path.parent / "JPEGImages"])
        width, height = reading.size(image, table.get("imageWidth"), table.get("imageHeight"))
        shapes: dict[tuple[str, Any], Shape] = {}
        for number, shape in enumerate(table["shapes"]):
            label = str(shape["label"])
            if label in _NO_CLASS:
                reading.said[f"shapes with the label {label} are left out"] += 1
                continue
            area = _of_labelme(shape, width, height, reading)
            if area is None:
                continue
            group = shape.get("group_id")
            key = (label, number if group is None else ("group", group))
            before = shapes.get(key)
            if before and isinstance(before.segmentation, list) and isinstance(area, list):
                area = before.segmentation + area  # one object in parts
            elif before:
                key = (label, number)
            shapes[key] = Shape(label, area)
        yield Labelled(image, reading.list_of(path), width, height, list(shapes.values()), path)


def _of_labelme(shape: dict[str, Any], width: int, height: int, reading: Reading) -> Any:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "rectangle" and len(points) >= 2:
        reading.said[_BOXES] += 1
        return rectangle(points[0], points[2] if len(points) == 4 else points[1])
    if kind == "circle":
        radius = math.dist(points[0], points[1])
        return ellipse(points[0], radius, radius)
    if kind == "mask":
        left, top = (round(value) for value in points[0])
        return encode_mask(placed(base64.b64decode(shape["mask"]), left, top, width, height))
    if kind not in {"polygon", "oriented_rectangle"}:
        reading.said[_NO_AREA] += 1
        return None
    return _counted(polygon(points), reading)


def supervisely(reading: Reading) -> Iterator[Labelled]:
    """``<data set>/ann/<image>.json`` and ``<data set>/img/<image>``."""
    for path, table in _json_files(reading, is_supervisely):
        image = reading.image(path, path.stem, [path.parent.with_name("img")])
        width, height = reading.size(image, table["size"].get("width"), table["size"].get("height"))
        shapes = []
        for entry in table["objects"]:
            if (area := _of_supervisely(entry, width, height, reading)) is not None:
                shapes.append(Shape(str(entry["classTitle"]), area))
        yield Labelled(image, reading.list_of(path, "ann"), width, height, shapes, path)


def _of_supervisely(entry: dict[str, Any], width: int, height: int, reading: Reading) -> Any:
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    if kind in {"bitmap", "alpha_mask"}:
        bitmap = entry["bitmap"]
        left, top = (round(value) for value in bitmap["origin"])
        return encode_mask(placed(zlib.decompress(base64.b64decode(bitmap["data"])), left, top, width, height))
    if kind not in {"polygon", "rectangle"}:
        reading.said[_NO_AREA] += 1
        return None
    outline, holes = entry["points"]["exterior"], entry["points"].get("interior") or []
    if kind == "rectangle":
        reading.said[_BOXES] += 1
        return rectangle(outline[0], outline[1])
    return _counted(with_holes(outline, holes, width, height) if holes else polygon(outline), reading)


def label_studio(reading: Reading) -> Iterator[Labelled]:
    """One JSON file with all tasks."""
    for path, tasks in _json_files(reading, is_label_studio):
        for task in tasks:
            done = [a for a in task.get("annotations") or task["completions"] if not a.get("was_cancelled")]
            if not done:
                reading.said["tasks without an annotation are left out"] += 1
                continue
            if len(done) > 1:
                reading.said["of tasks with several annotations, the first is taken"] += 1
            name = _name_in(task["data"])
            try:
                image = reading.image(path, name)
            except UserError:  # an upload's name begins with eight digits of Label Studio's own
                short = re.sub(r"^[0-9a-f]{8}-", "", PurePosixPath(name).name)
                if short == PurePosixPath(name).name:
                    raise
                image = reading.image(path, short)
            results = done[0]["result"]
            sizes = [(entry.get("original_width"), entry.get("original_height")) for entry in results]
            width, height = reading.size(image, *next((size for size in sizes if size[0]), (None, None)))
            shapes = [shape for entry in results for shape in _of_label_studio(entry, width, height, reading)]
            yield Labelled(image, reading.list_of(path), width, height, shapes, path)


def _name_in(data: dict[str, Any]) -> str:
    values = [value for value in data.values() if isinstance(value, str)]
    names = [parse_qs(urlsplit(value).query).get("d", [urlsplit(value).path])[0] for value in values]
    return next(name for name in (*names, *values) if suffix_of(name) in IMAGE_SUFFIXES)


def _of_label_studio(entry: dict[str, Any], width: int, height: int, reading: Reading) -> Iterator[Shape]:
    kind, value = str(entry.get("type")), entry.get("value", {})
    labels = value.get(kind) or value.get("labels")
    if kind.startswith(("choices", "textarea", "rating", "relation")) or not labels:
        reading.said["results without a label of an area are left out"] += 1
        return
    across, down = width / 100, height / 100
    area: Any = None
    if "points" in value:
        area = _counted(polygon([(x * across, y * down) for x, y in value["points"]]), reading)
    elif "rle" in value:
        opacity = label_studio_pixels(value["rle"]).reshape(height, width, 4)[..., 3]
        area = encode_mask(opacity > 0)
    elif "radiusX" in value:
        centre = value["x"] * across, value["y"] * down
        area = ellipse(centre, value["radiusX"] * across, value["radiusY"] * down)
    elif {"x", "y", "width", "height"} <= value.keys() and kind.startswith("rectangle"):
        reading.said[_BOXES] += 1
        area = _turned(value, across, down)
    else:
        reading.said[_NO_AREA] += 1
    if area is not None:
        yield Shape(str(labels[0]), area)


def _turned(value: dict[str, Any], across: float, down: float) -> list[list[float]] | None:
    """A rectangle, turned about its upper left corner."""
    left, top = value["x"] * across, value["y"] * down
    wide, high = value["width"] * across, value["height"] * down
    angle = math.radians(value.get("rotation") or 0)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(0, 0), (wide, 0), (wide, high), (0, high)]
    return polygon([(left + x * cos - y * sin, top + x * sin + y * cos) for x, y in corners])


def label_studio_pixels(packed: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The values that a brush of Label Studio is packed from: four a pixel, row by row.

    A stream of bits: 32 for how many values there are, 5 for the bits of a value less one, four times 4 for the bits of
    a run's length less one. Each run begins with a bit that is 1 where one value fills it, and 2 bits that say which of
    the four lengths follows, which is the run's less one; then the value, or all values of the run.
    """
    bits = np.unpackbits(np.array(packed, dtype=np.uint8)).tolist()
    at = 0

    def take(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise ValueError("a brush ends in the middle")
        value = int("".join(map(str, bits[at : at + count])) or "0", 2)
        at += count
        return value

    total, bits_of_value = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        filled = take(1)
        run = take(lengths[take(2)]) + 1
        values += [take(bits_of_value)] * run if filled else [take(bits_of_value) for _ in range(run)]
    return np.array(values[:total], dtype=np.uint8)


def yolo(reading: Reading) -> Iterator[Labelled]:
    """``labels/<name>.txt`` with a class and an outline a line, ``images/<name>.jpg``, names in ``data.yaml``."""
    names = _names_of_yolo(reading)
    for path in reading.files:
        if suffix_of(path.name) != ".txt" or not is_yolo(text := read_text(path, "file")):
            continue
        reading.file = path
        folders = [path.parents[1] / "images", path.parent]  # labels/ beside images/, maybe with a split inside both
        if path.parents[1].name == "labels":
            folders.insert(0, path.parents[2] / "images" / path.parent.name)
        image = next((found for folder in folders if (found := find_file(folder, path.stem, IMAGE_SUFFIXES))), None)
        if image is None:
            raise UserError(f"{path}: no image {path.stem} in {folders[0]}; add it or remove the file")
        image = reading.inside(path, image)
        width, height = image_size(image, upright=True)
        shapes = []
        for line in filter(str.strip, text.splitlines()):
            number, *values = line.split()
            if len(values) == 4:
                reading.said["boxes without an outline are left out (export YOLO segmentation)"] += 1
                continue
            if len(values) % 2:
                raise UserError(f"{path}: a line has {len(values)} coordinates, an odd number")
            points = [(float(x) * width, float(y) * height) for x, y in zip(values[::2], values[1::2], strict=True)]
            label = names[int(number)] if int(number) < len(names) else f"class-{number}"
            if names and int(number) >= len(names):
                raise UserError(f"{path}: the class {number} has no name among the {len(names)} of the data set")
            shapes.append(Shape(label, polygon(points)))
        yield Labelled(image, reading.list_of(path, "labels"), width, height, shapes, path)


def _names_of_yolo(reading: Reading) -> list[str]:
    """Names of the classes, in the order of their numbers, from 0."""
    for path in reading.files:
        if path.name.lower() in {"classes.txt", "obj.names"}:
            return [line.strip() for line in read_text(path, "names").splitlines() if line.strip()]
    for path in reading.files:
        if suffix_of(path.name) in {".yaml", ".yml"}:
            text = read_text(path, "names")
            if inline := re.search(r"^names:\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL):
                return [name.strip().strip("'\"") for name in inline[1].split(",") if name.strip()]
            if block := re.search(r"^names:\s*\n((?:\s*(?:-|\d+:)\s*.*\n?)+)", text, re.MULTILINE):
                lines = [line.strip() for line in block[1].splitlines() if line.strip()]
                return [re.sub(r"^(-|\d+:)\s*", "", line).strip("'\"") for line in lines]
    return []


def _counted(area: Any, reading: Reading) -> Any:
    if area is None:
        reading.said[_NO_OUTLINE] += 1
    return area


def _json_files(reading: Reading, fits: Callable[[Any], bool]) -> Iterator[tuple[Path, Any]]:
    """The JSON files that are the tool's; other ones are counted."""
    for path in reading.files:
        if suffix_of(path.name) == ".json":
            table = read_json(path)
            if fits(table):
                reading.file = path
                yield path, table
            else:
                reading.said["other JSON files are not read"] += 1


READERS: dict[str, Callable[[Reading], Iterator[Labelled]]] = {
    "labelme": labelme,
    "Supervisely": supervisely,
    "Label Studio": label_studio,
    "YOLO": yolo,
}
