"""Kinds of damage to a prepared data set, and what is said about each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.data.prepare.layouts import labels

VOC = "VOCdevkit/VOC2012"


def save_mask(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    Image.fromarray(values).save(path)


def other_values(path: Path) -> None:
    values = labels(65)
    values[0, 0] = 37
    save_mask(path, values)


def same_size_other_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 0xFF
    path.write_bytes(bytes(content))


LISTS, SBD = f"{VOC}/ImageSets/Segmentation", f"{VOC}/SBD/dataset"
JPEG, PNG, MAT = f"{VOC}/JPEGImages/2008_000065.jpg", f"{VOC}/SegmentationClass/2008_000065.png", "2008_000090.mat"


class Damage(NamedTuple):
    file: str
    do: Callable[[Path], object]
    full: str
    """What a full check of data without records says (a pattern)."""
    fast: bool
    """Whether --fast says it as well; else it finds nothing."""
    named: str = ""
    """What the message names when it is not the file."""


def edit(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def coco_edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def do(path: Path) -> None:
        table = json.loads(path.read_text(encoding="utf-8"))
        change(table)
        path.write_text(json.dumps(table), encoding="utf-8")

    return do


WITH_TEST_IMAGE = "".join(f"2008_{n:06d}\n" for n in [*range(39), 45, *range(80, 120)])
PASCAL = {
    "image missing": Damage(JPEG, Path.unlink, r"no such image", True),
    "mask missing": Damage(PNG, Path.unlink, r"no mask 2008_000065\.png", True, "2008_000065"),
    "mask missing where SBD has one": Damage(
        f"{VOC}/SegmentationClass/2008_000045.png", Path.unlink, r"no such mask; .*cls/2008_000045 steps in", True
    ),
    "SBD mask missing": Damage(f"{SBD}/cls/{MAT}", Path.unlink, r"no mask .* or 2008_000090\.mat", True, "2008_000090"),
    "image empty": Damage(JPEG, lambda p: p.write_bytes(b""), r"is empty", True),
    "mask empty": Damage(PNG, lambda p: p.write_bytes(b""), r"is empty", True),
    "image cut": Damage(JPEG, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"cannot be read", False),
    "image is a web page": Damage(JPEG, lambda p: p.write_text("<html>404</html>"), r"cannot be read", False),
    "image of another size": Damage(JPEG, lambda p: Image.new("RGB", (60, 64)).save(p), r"its image .* 60 x 64", False),
    "mask cut": Damage(PNG, lambda p: p.write_bytes(p.read_bytes()[:-60]), r"cannot be read", False),
    "mask of another size": Damage(PNG, lambda p: save_mask(p, labels(65)[:50]), r"is 64 x 50 pixels", False),
    "mask with colours": Damage(PNG, lambda p: Image.new("RGB", (64, 64)).save(p), r"mode RGB", False),
    "mask with other values": Damage(PNG, other_values, r"label values 37 are outside", False),
    "SBD mask damaged": Damage(f"{SBD}/cls/{MAT}", lambda p: p.write_bytes(b"x" * 500), r"not a class mask", False),
    "list missing": Damage(f"{LISTS}/val.txt", Path.unlink, r"no such list", True),
    "list empty": Damage(f"{LISTS}/val.txt", lambda p: p.write_text(""), r"the list is empty", True),
    "list is no text": Damage(f"{LISTS}/val.txt", lambda p: p.write_bytes(b"\xff\xfe\n"), r"cannot be read", True),
    "list cut": Damage(f"{LISTS}/val.txt", edit(lambda t: t[:240]), r"has 20 images; it must have 40", True),
    "line repeated": Damage(f"{LISTS}/val.txt", edit(lambda t: t + "2008_000041\n"), r"is there 2 times", True),
    "line of no image": Damage(
        f"{LISTS}/val.txt", edit(lambda t: t + "2008_9\n"), r"no such image", True, "2008_9.jpg"
    ),
    "SBD list missing": Damage(f"{SBD}/train.txt", Path.unlink, r"no such list.*train\.txt", True),
    "SBD list cut": Damage(
        f"{SBD}/train.txt", edit(lambda t: t[:-24]), r"78 images; it must have 80", True, "trainaug"
    ),
    "test image in the training list": Damage(
        f"{LISTS}/trainaug.txt", lambda p: p.write_text(WITH_TEST_IMAGE), r"test images as well, 2008_000045", True
    ),
}
JSON, COCO_JPEG = "coco/annotations/instances_val2014.json", "coco/val2014/COCO_val2014_000000001007.jpg"
COCO = {
    "image missing": Damage(COCO_JPEG, Path.unlink, r"no such image", True),
    "image cut": Damage(COCO_JPEG, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"cannot be read", False),
    "image empty": Damage(COCO_JPEG, lambda p: p.write_bytes(b""), r"is empty", True),
    "image of another size": Damage(COCO_JPEG, lambda p: Image.new("RGB", (64, 63)).save(p), r"64 x 63 pixels", False),
    "annotations missing": Damage(JSON, Path.unlink, r"No such file", True),
    "annotations cut": Damage(JSON, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"not valid JSON", True),
    "annotations of another kind": Damage(JSON, lambda p: p.write_text("{}"), r"not an instance file", True),
    "images gone from the annotations": Damage(
        JSON, coco_edit(lambda t: [t["images"].pop(), t["annotations"].pop()]), r"159 images; it must have 160", True
    ),
    "annotation of no image": Damage(
        JSON, coco_edit(lambda t: t["annotations"][3].update(image_id=77)), r"annotation 4: image_id 77", True
    ),
    "category gone": Damage(JSON, coco_edit(lambda t: t["categories"].pop()), r"category_id 80", True),
}
ALL = [("pascal5i", kind) for kind in PASCAL] + [("coco20i", kind) for kind in COCO]
