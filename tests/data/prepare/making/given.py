"""What people have of the benchmarks, in the layouts of their archives: tiny pictures in the place of all others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from fsseg_bench.paths import folder as package_folder

H, W = 24, 32
"""Of every picture."""


def write(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def picture(number: int, shape: tuple[int, int] = (H, W)) -> np.ndarray[Any, Any]:
    """(H, W, 3): no two numbers give one picture."""
    return np.random.RandomState(number).randint(0, 256, (*shape, 3)).astype(np.uint8)


def block(number: int, value: int, shape: tuple[int, int] = (H, W)) -> np.ndarray[Any, Any]:
    """(H, W): ``value`` in a block of 8 x 10 pixels whose place ``number`` says, 0 elsewhere."""
    pixels = np.zeros(shape, dtype=np.uint8)
    top, left = number * 3 % (shape[0] - 8), number * 5 % (shape[1] - 10)
    pixels[top : top + 8, left : left + 10] = value
    return pixels


def isaid5i(folder: Path, pairs: Mapping[str, Sequence[str]]) -> Path:
    """``pairs``: ``train`` and ``val`` to lines ``tile__NN``; a tile shows all classes that any line has for it."""
    place = folder / "iSAID_patches"
    for part, lines in pairs.items():
        tiles: dict[str, list[int]] = {}
        for line in lines:
            tile, _, label = line.partition("__")
            tiles.setdefault(tile, []).append(int(label))
        for number, (tile, labels) in enumerate(sorted({**tiles, "P9999_0_256_0_256": [1]}.items())):
            mask = np.zeros((H, W), dtype=np.uint8)
            for row, label in enumerate(sorted(set(labels))):
                mask[2 * row : 2 * row + 2, 3:20] = label
            mask[-1] = 255
            write(place / part / "images" / f"{tile}.png", picture(number))
            write(place / part / "semantic_png" / f"{tile}_instance_color_RGB.png", mask)
    return folder


def isic2018(folder: Path, most: int | None = None) -> Path:
    """All 2,594 names, or the first of each class, and one that has no class; a class has one file with many names."""
    images, masks = folder / "ISIC2018_Task1-2_Training_Input", folder / "ISIC2018_Task1_Training_GroundTruth"
    names = {
        name: (package_folder("protocols") / "isic2018" / f"{name}.txt").read_text(encoding="utf-8").split()[:most]
        for name in ("nevus", "seborrheic_keratosis", "melanoma")
    }
    for number, (_, ids) in enumerate({**names, "none": ["ISIC_9999999"]}.items()):
        first, mask = images / f"{ids[0]}.jpg", masks / f"{ids[0]}_segmentation.png"
        write(first, picture(number))
        write(mask, block(number, 255))
        for image in ids[1:]:
            (images / f"{image}.jpg").hardlink_to(first)
            (masks / f"{image}_segmentation.png").hardlink_to(mask)
    (images / "ATTRIBUTION.txt").write_text("not kept")
    return folder


def chestx(folder: Path) -> Path:
    """Three pairs of Shenzhen, two of Montgomery, an image without a mask and a mask without an image."""
    place = folder / "Lung Segmentation"
    shenzhen, montgomery = ["CHNCXR_0001_0", "CHNCXR_0002_0", "CHNCXR_0003_1"], ["MCUCXR_0001_0", "MCUCXR_0002_1"]
    for number, name in enumerate([*shenzhen, *montgomery, "CHNCXR_0025_0"]):
        write(place / "CXR_png" / f"{name}.png", picture(number)[..., 0])
    for number, name in enumerate([*(f"{name}_mask" for name in [*shenzhen, "CHNCXR_0999_1"]), *montgomery]):
        write(place / "masks" / f"{name}.png", block(number, 255))
    write(place / "test" / "CHNCXR_0025_0.png", picture(9))
    return folder


SUIM = {"BW": (0, 0, 0), "HD": (0, 0, 255), "PF": (0, 255, 0), "WR": (0, 255, 255)}
SUIM |= {"RO": (255, 0, 0), "RI": (255, 0, 255), "FV": (255, 255, 0), "SR": (255, 255, 255)}
"""The authors' colours."""
SUIM_SHOWN = {
    ("train_val", "d_r_1_"): ("FV", "HD", "PF", "RI"),
    ("train_val", "d_r_2_"): ("RO", "SR", "WR"),
    ("train_val", "f_r_3_"): ("FV", "HD", "PF", "RI", "RO", "SR", "WR"),
    ("TEST", "n_l_4_"): ("RO", "SR", "WR", "HD"),
    ("TEST", "n_l_5_"): ("FV", "PF", "RI"),
    ("TEST", "n_l_6_"): (),
}
"""What each picture shows besides water: stripes of 3 rows from the top, in this order."""


def suim(folder: Path) -> Path:
    """The authors' layout. One mask is twice as high as its image; one has soft values at the ends of its stripes."""
    for number, ((part, name), classes) in enumerate(SUIM_SHOWN.items()):
        colours = np.zeros((H, W, 3), dtype=np.uint8)
        for row, code in enumerate(classes):
            colours[3 * row : 3 * row + 3] = SUIM[code]
        if name == "d_r_2_":
            colours = np.repeat(colours, 2, axis=0)
        if name == "d_r_1_":
            colours = np.clip(colours, 5, 200)
        write(folder / part / "images" / f"{name}.jpg", picture(number))
        write(folder / part / "masks" / f"{name}.bmp", colours)
    for code in SUIM:  # TEST has the classes' masks as well, which are not read
        write(folder / "TEST" / "masks" / code / "n_l_4_.bmp", np.zeros((H, W)))
    return folder


def suim_merged(folder: Path) -> Path:
    """The same pictures, with a grey mask an image and class."""
    place = folder / "suim_merged"
    for number, ((_, name), classes) in enumerate(SUIM_SHOWN.items()):
        write(place / "images" / f"{name}.jpg", picture(number))
        for code in SUIM:
            mask = np.zeros((H, W), dtype=np.uint8)
            if code in classes:
                row = classes.index(code)
                mask[3 * row : 3 * row + 3] = 200
            write(place / "masks" / code / f"{name}.bmp", mask)
    return folder


def run_lengths(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask > 0, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def box(left: int, top: int, width: int, height: int, shape: tuple[int, int] = (H, W)) -> dict[str, Any]:
    mask = np.zeros(shape)
    mask[top : top + height, left : left + width] = 1
    return run_lengths(mask)


def pascal_part(folder: Path, images: int = 2) -> Path:
    """All 56 parts and aeroplane TAIL, on ``images`` val images of each object, which stands there twice.

    The second object of an image lacks the first of its parts. A part is two columns wide.
    """
    place = folder / "VOCdevkit" / "VOC2010"
    lists: dict[str, Any] = {}
    pictures = 0
    for group in ("animals", "indoor", "person", "vehicles"):
        file = package_folder("protocols") / "pascal-part" / f"{group}.txt"
        names = [line.split(" ") for line in file.read_text(encoding="utf-8").splitlines()]
        names += [["aeroplane", "TAIL"]] if group == "vehicles" else []
        objects: dict[str, Any] = {}
        for thing, part in names:
            entry = objects.setdefault(thing, {"part": {}})
            entry["part"][part] = {"train": ["2008_999999"], "val": [f"{thing}_{i}" for i in range(images)]}
        objects.setdefault("cow" if group == "animals" else names[0][0], {"part": {}})["part"]["HORN"] = {
            "train": ["2008_999999"],
            "val": [],
        }
        lists[group] = {"object": objects}
        for thing, entry in objects.items():
            for image in range(images):
                parts = [part for part in entry["part"] if part != "HORN"]
                things = [
                    {
                        "name": thing,
                        "bndbox": {"xmin": str(1 + 15 * n), "ymin": "2", "xmax": str(16 + 15 * n), "ymax": "20"},
                        "parts": [
                            {"name": part, "mask": [box(1 + 15 * n + 2 * i, 3, 2, 10)]}
                            for i, part in enumerate(parts)
                            if n == 0 or i > 0
                        ],
                    }
                    for n in range(2)
                ]
                file = place / "Annotations_Part_json_merged_part_classes" / f"{thing}_{image}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                sofa = {"name": "sofa", "bndbox": {"xmin": 0, "ymin": 0, "xmax": 9, "ymax": 9}, "parts": []}
                file.write_text(json.dumps({"object": [*things, sofa]}))
                write(place / "JPEGImages" / f"{thing}_{image}.jpg", picture(pictures))
                pictures += 1
    (place / "all_obj_part_to_image.json").write_text(json.dumps(lists))
    return folder


def paco(folder: Path, parts: int = 9, images: int = 3) -> Path:
    """``parts`` parts of a mug and a chair on ``images`` images; the last part is on one image alone."""
    categories = [{"id": 1, "name": "mug", "supercategory": "OBJECT"}, {"id": 2, "name": "chair"}]
    categories += [{"id": 10 + i, "name": f"{'mug' if i % 2 else 'chair'}:p{i}"} for i in range(parts)]
    listed, annotations = [], []
    for image in range(images):
        name = f"{image:012d}.jpg"
        listed.append({"id": 500 + image, "width": W, "height": H, "file_name": name})
        listed[-1]["coco_url"] = f"http://images.cocodataset.org/train2017/{name}"
        write(folder / "train2017" / name, picture(image))
        for thing, category in ((0, 1), (1, 2)):
            key = 1000 * (image + 1) + 100 * thing
            bounds = [16.0 * thing, 1.5, 15.5, 20.0]
            annotations.append({"id": key, "obj_ann_id": key, "category_id": category, "bbox": bounds})
            annotations[-1] |= {"image_id": 500 + image, "segmentation": [[1, 1, 9, 1, 9, 9]]}
            for i in range(parts):
                if (i % 2 == 1) == (category == 1) and (i < parts - 1 or image == 0):
                    part = {"id": key + i + 1, "obj_ann_id": key, "category_id": 10 + i, "image_id": 500 + image}
                    annotations.append({**part, "bbox": [0, 0, 1, 1], "segmentation": box(16 * thing + i, 4, 2, 9)})
    table = {"images": listed, "annotations": annotations, "categories": categories[::-1]}
    (folder / "paco_lvis_v1_val.json").write_text(json.dumps(table))
    return folder
