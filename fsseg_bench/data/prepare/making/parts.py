"""Parts of objects as COCO's instances: an annotation is a part and says which object it belongs to, and its box."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One region of one part of one object."""

    class_name: str
    object_number: int
    """Tells the objects of an image apart."""
    box: tuple[float, float, float, float]
    """Of the object: left, top, width, height, in pixels."""
    segmentation: Any
    """As COCO writes it: polygons or run lengths."""


class Photo(NamedTuple):
    """An image and the parts in it."""

    file_name: str
    width: int
    height: int
    parts: Sequence[Part]


def coco_table(photos: Iterable[Photo], classes: Sequence[str]) -> Mapping[str, Any]:
    """An instance file of COCO; categories are ``classes``, numbered from 1.

    Beside COCO's own keys each annotation has ``object`` and ``object_bbox``, as ``data.crop`` reads them.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for photo in photos:
        image = len(images) + 1
        images.append({"id": image, "file_name": photo.file_name, "width": photo.width, "height": photo.height})
        for part in photo.parts:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": numbers[part.class_name],
                    "iscrowd": 0,
                    "segmentation": part.segmentation,
                    "object": part.object_number,
                    "object_bbox": list(part.box),
                }
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def json_bytes(table: Mapping[str, Any]) -> bytes:
    """The table as the bytes of a JSON file, the same every time."""
    return json.dumps(table, separators=(",", ":")).encode()
