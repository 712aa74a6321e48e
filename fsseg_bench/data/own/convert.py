"""Writes what a labelling tool has exported as COCO's instances, one file a list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import shown, suffix_of
from fsseg_bench.data.own.converted import Labelled, Reading
from fsseg_bench.data.own.readers import READERS, WRONG
from fsseg_bench.data.own.tools import tool_of
from fsseg_bench.errors import UserError


@dataclass(frozen=True)
class Converted:
    """COCO's instances of a folder."""

    tool: str
    files: Mapping[str, str]
    """Name below the folder (``annotations/instances_<list>.json``) to text."""
    said: tuple[str, ...]
    """What was found, left out and taken in an unusual way."""


def convert(root: Path) -> Converted:
    """The files of a labelling tool in ``root`` as COCO's instances; image names are relative to ``root``.

    Raises:
        UserError: no tool's files are there, their tool's are not converted, or one is wrong; says what to do.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    root = root.resolve()
    found = tool_of(root)
    if found is None:
        tools = ", ".join(READERS)
        raise UserError(f"{root}: holds no files of {tools} (docs/reference/layouts.md shows what is read)")
    tool, advice = found
    if tool not in READERS:
        raise UserError(f"{root}: holds files of {tool}, which are not converted: {advice}")
    reading = Reading(root)
    labelled: dict[Path, Labelled] = {}
    try:
        for image in READERS[tool](reading):
            before = labelled.setdefault(image.image, image)
            if before is not image:
                raise UserError(f"{before.file} and {image.file} both label {image.image}; remove one")
    except WRONG as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{reading.file or root}: is not as {tool} writes its files: {what}") from error
    labels = sorted({shape.label for image in labelled.values() for shape in image.shapes})
    if not labels:
        raise UserError(f"{root}: no file of {tool} has an area with a label{_sentences(reading)}")
    lists: dict[str, list[Labelled]] = {}
    for image in labelled.values():
        lists.setdefault(image.list_name, []).append(image)
    files = {
        f"annotations/instances_{name}.json": json.dumps(_instances(root, images, labels), ensure_ascii=False)
        for name, images in sorted(lists.items())
    }
    areas = sum(len(image.shapes) for image in labelled.values())
    said = [f"found {tool}: {len(labelled):,} images, {areas:,} areas of {len(labels)} classes ({', '.join(labels)})"]
    said += [f"{words}: {count:,}" for words, count in sorted(reading.said.items())]
    bare = [p.relative_to(root) for p in reading.files if suffix_of(p.name) in IMAGE_SUFFIXES and p not in labelled]
    if bare:
        said.append(f"images that no file labels are left out: {shown(bare)}")
    return Converted(tool, files, tuple(said))


def _sentences(reading: Reading) -> str:
    return "".join(f"; {words}: {count}" for words, count in sorted(reading.said.items()))


def _instances(root: Path, images: list[Labelled], labels: list[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    entries = []
    for number, image in enumerate(sorted(images, key=lambda image: str(image.image)), start=1):
        name = image.image.relative_to(root).as_posix()
        entries.append({"id": number, "file_name": name, "width": image.width, "height": image.height})
        for shape in image.shapes:
            region = shape.segmentation
            if isinstance(region, list):
                region = coco_mask.merge(coco_mask.frPyObjects(region, image.height, image.width))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": labels.index(shape.label) + 1,
                    "segmentation": shape.segmentation,
                    "area": int(coco_mask.area(region)),
                    "bbox": coco_mask.toBbox(region).tolist(),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": label} for i, label in enumerate(labels, start=1)]
    return {"images": entries, "annotations": annotations, "categories": categories}
