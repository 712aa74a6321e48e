"""Masks of real COCO images, against three other ways to draw them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.protocol.load import load_protocol

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]


@pytest.fixture
def real(test_data: Path) -> CocoSource:
    return CocoSource(test_data / "data/coco-mini", load_protocol("coco20i-a").classes, 2017)


def test_real_masks_equal_unions_of_single_annotations(real: CocoSource) -> None:
    """Against pycocotools' own reader, one annotation at a time."""
    table = COCO(str(real.root / "annotations/instances_val2017.json"))
    names = {c["id"]: c["name"] for c in table.dataset["categories"]}
    checked = 0
    for image_id in real.ids("val"):
        entry = table.imgs[int(image_id.rpartition("/")[2])]
        expected = np.zeros((80, entry["height"], entry["width"]), dtype=np.uint8)
        annotations = table.imgToAnns[entry["id"]]
        for a in sorted(annotations, key=lambda a: -a["iscrowd"]):
            mask = expected[real.classes.index(names[a["category_id"]])]
            mask[table.annToMask(a) == 1] = 255 if a["iscrowd"] else 1
        present = [c for c in range(1, 81) if expected[c - 1].any()]
        assert np.array_equal(real.class_masks(image_id, present), expected[[c - 1 for c in present]])
        pixels = {c: int((expected[c - 1] == 1).sum()) for c in present}
        assert real.class_pixels(image_id) == {c: n for c, n in pixels.items() if n}
        checked += len(annotations)
    assert checked > 1500


def inside_and_distance(polygons: list[list[float]], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel's centre: whether it is inside (even-odd), and its distance to the nearest edge."""
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    inside = np.zeros((height, width), dtype=bool)
    distance = np.full((height, width), np.inf)
    for polygon in polygons:
        points = np.array(polygon).reshape(-1, 2)
        part = np.zeros_like(inside)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y0 != y1:
                part ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
            squared = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
            along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / squared, 0, 1)
            np.minimum(distance, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)), out=distance)
        inside |= part
    return inside, distance


def test_real_masks_against_the_pixel_centre_rule(real: CocoSource) -> None:
    """Every pixel whose centre is more than a pixel from the polygons' edges is as the even-odd rule says.

    Nearer pixels may differ, since pycocotools rounds the outline before it fills it. The mask's area is COCO's
    ``area`` (of the polygon itself) but for half a pixel along the outline.
    """
    table = json.loads((real.root / "annotations/instances_val2017.json").read_text())
    images = {i["id"]: i for i in table["images"]}
    names = {c["id"]: c["name"] for c in table["categories"]}
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for a in table["annotations"]:
        groups.setdefault((a["image_id"], a["category_id"]), []).append(a)
    single = [g[0] for g in groups.values() if len(g) == 1 and not g[0]["iscrowd"]][::20]
    assert len(single) >= 15
    for a in single:
        entry = images[a["image_id"]]
        polygons = a["segmentation"]
        image_id = f"val2017/{Path(entry['file_name']).stem}"
        class_id = real.classes.index(names[a["category_id"]]) + 1
        mask = real.class_masks(image_id, [class_id])[0] == 1
        inside, distance = inside_and_distance(polygons, entry["height"], entry["width"])
        assert not ((mask != inside) & (distance > 1)).any(), (image_id, class_id)
        points = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
        length = sum(np.linalg.norm(p - np.roll(p, 1, axis=0), axis=1).sum() for p in points)
        assert abs(int(mask.sum()) - a["area"]) <= 0.5 * length + 1, (image_id, class_id)
