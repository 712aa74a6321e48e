"""Small stand-ins of benchmarks beyond PASCAL-5i and COCO-20i, each in the exact layout that people get."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from fsseg_bench.conventions import UInt8
from fsseg_bench.protocol.load import load_protocol

SIDE = 40


def picture(number: int, side: int = SIDE) -> UInt8:
    """A square on grey, in a colour and at a place of its own; no two of a few hundred are alike."""
    image = np.full((side, side, 3), 90 + number % 60, dtype=np.uint8)
    image[box(number, side)] = (number * 37 % 256, number * 91 % 256, 255 - number % 256)
    return image


def box(number: int, side: int = SIDE) -> tuple[slice, slice]:
    """Where the square of a picture is: a half of each side."""
    y, x = number * 3 % (side // 2), number * 7 % (side // 2)
    return slice(y, y + side // 2), slice(x, x + side // 2)


def grey_mask(number: int, inside: int = 255, outside: int = 0) -> UInt8:
    mask = np.full((SIDE, SIDE), outside, dtype=np.uint8)
    mask[box(number)] = inside
    return mask


def save(path: Path, pixels: UInt8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def fss1000(given: Path) -> None:
    """The 1,000 folders with two of the ten pairs; masks are grey, not two-valued. There are folders around them."""
    for number in (1, 2):
        files = {".jpg": picture(number), ".png": grey_mask(number, 128 + number, 120 + number)}
        for suffix, pixels in files.items():
            save(given / f"first/{number}{suffix}", pixels)
            for name in load_protocol("fss1000").classes:
                (given / "FSS-1000/data" / name).mkdir(parents=True, exist_ok=True)
                os.link(given / f"first/{number}{suffix}", given / f"FSS-1000/data/{name}/{number}{suffix}")


LAND = [(255, 255, 0), (0, 255, 255), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]
"""Agriculture, urban, rangeland, forest, water, barren, unknown."""


def deepglobe(given: Path) -> None:
    """Two pictures of 6 x 6 tiles of 20 x 20. Tile t of picture p: its left half is class t mod 6, its right half class
    (t + 1 + p) mod 6. Beside: the first tile of a row is of one colour, the last has a speck of unknown."""
    for p in range(2):
        mask = np.zeros((120, 120, 3), dtype=np.uint8)
        for t in range(36):
            y, x = t // 6 * 20, t % 6 * 20
            mask[y : y + 20, x : x + 10] = LAND[t % 6]
            mask[y : y + 20, x + 10 : x + 20] = LAND[t % 6 if t % 6 == 0 else (t + 1 + p) % 6]
            if t % 6 == 5:
                mask[y, x] = LAND[6]
        folder = given / "deepglobe/train"
        save(folder / f"{p + 100}_mask.png", mask)
        save(folder / f"{p + 100}_sat.jpg", picture(p, 120))
    save(given / "deepglobe/valid/7_sat.jpg", picture(7))  # without masks, as in the archive


def perseg(given: Path) -> None:
    """Three objects of three images; masks are in colour on black."""
    for place, name in enumerate(("backpack", "cat", "toy car")):
        for number in range(3):
            colour = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
            colour[box(3 * place + number)] = (128, 0, 0)
            save(given / f"data/Images/{name}/{number:02}.jpg", picture(3 * place + number))
            save(given / f"data/Annotations/{name}/{number:02}.png", colour)


VAL, TRAIN = 12, 3
"""Images of LVIS val, half of them in each folder of COCO, and of train."""


def lvis(given: Path) -> None:
    """23 categories: 1 to 21 are in 7 images of val, 22 in three, 23 in one. Objects of several classes overlap;
    there is no file_name and no iscrowd."""
    shown: dict[int, set[int]] = {number: set() for number in range(VAL + TRAIN)}
    for category in range(1, 22):
        for i in range(7):
            shown[(category + i) % VAL].add(category)
    shown[0] |= {22, 23}
    shown[1].add(22)
    shown[2].add(22)
    for number in range(VAL, VAL + TRAIN):
        shown[number] |= {number - VAL + 1, 23}
    for name, numbers in (("val", range(VAL)), ("train", range(VAL, VAL + TRAIN))):
        images, annotations = [], []
        for number in numbers:
            folder = "train2017" if number % 2 or name == "train" else "val2017"
            file = f"{folder}/{number:012}.jpg"
            save(given / "coco" / file, picture(number))
            url = f"http://images.cocodataset.org/{file}"
            marked = [1, 23] if number == 1 else []
            facts = {"not_exhaustive_category_ids": marked, "neg_category_ids": []}
            images.append({"id": number, "coco_url": url, "height": SIDE, "width": SIDE, **facts})
            annotations += [lvis_object(number, category) for category in sorted(shown[number])]
        for key, entry in enumerate(annotations, start=1):
            entry["id"] = key
        categories = [{"id": i, "name": f"thing {i}", "image_count": 999} for i in range(23, 0, -1)]
        table = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        path = given / f"coco/annotations/lvis_v1_{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table))


def lvis_object(image: int, category: int) -> dict[str, Any]:
    """A box; every third one is run lengths, the others are a polygon."""
    y, x = box(image + category)
    corners: Sequence[int] = [x.start, y.start, x.stop, y.start, x.stop, y.stop, x.start, y.stop]
    outline: Any = [list(corners)]
    if category % 3 == 0:
        filled = np.asfortranarray(grey_mask(image + category, 1))
        outline = coco_mask.encode(filled)
        outline["counts"] = outline["counts"].decode()
    return {"image_id": image, "category_id": category, "segmentation": outline, "bbox": [0, 0, 1, 1], "area": 1.0}


def encoded(pixels: UInt8, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
