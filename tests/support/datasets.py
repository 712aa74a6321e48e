"""Tiny data sets in VOC's and COCO's layout, written into a test's own folder.

Both show the same scenes: 8 classes, 2 in each fold, images of 40 x 30 pixels (width x height). Image ``j``
of class ``c`` shows a box of ``c`` of 16 x 14 pixels (224) in the colour of its class. Odd ``j``: a box of
the next class as well, 8 x 8 pixels (64). Names: ``train_c3_1`` is image 1 of class 3 in the list ``train``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol

CLASSES = ("anchor", "barrel", "candle", "drum", "easel", "flute", "globe", "harp")
WIDTH, HEIGHT = 40, 30
MAIN_PIXELS, EXTRA_PIXELS = 16 * 14, 8 * 8

UInt8 = npt.NDArray[np.uint8]


class Box(NamedTuple):
    """A filled rectangle of one class: columns x0 to x1, rows y0 to y1, ends excluded."""

    class_id: int
    x0: int
    y0: int
    x1: int
    y1: int


class Scene(NamedTuple):
    """One image and its boxes."""

    name: str
    image: UInt8
    boxes: tuple[Box, ...]


def scenes(list_name: str, count: int, seed: int = 0) -> Iterator[Scene]:
    """``count`` images of each class."""
    rng = np.random.RandomState(seed + (list_name != "train"))
    for class_id in range(1, len(CLASSES) + 1):
        for j in range(count):
            x, y = rng.randint(2, 6), rng.randint(2, 6)
            boxes = [Box(class_id, x, y, x + 16, y + 14)]
            if j % 2:
                x, y = rng.randint(24, 30), rng.randint(2, 20)
                boxes.append(Box(class_id % len(CLASSES) + 1, x, y, x + 8, y + 8))
            image = rng.randint(90, 130, (HEIGHT, WIDTH, 3))
            for box in boxes:
                image[box.y0 : box.y1, box.x0 : box.x1] += colour(box.class_id)
            yield Scene(f"{list_name}_c{class_id}_{j}", image.astype(np.uint8), tuple(boxes))


def colour(class_id: int) -> npt.NDArray[np.int64]:
    """What a class adds to the grey background: a different corner of the colour cube for each of the 8."""
    return np.array([110 if class_id - 1 >> bit & 1 else -80 for bit in range(3)])


def label_map(scene: Scene, border: bool = True) -> UInt8:
    """(HEIGHT, WIDTH) labels; ``border``: one pixel of void (255) around the main box, as VOC has it."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    main = scene.boxes[0]
    if border:
        labels[main.y0 - 1 : main.y1 + 1, main.x0 - 1 : main.x1 + 1] = 255
    for box in scene.boxes:
        labels[box.y0 : box.y1, box.x0 : box.x1] = box.class_id
    return labels


def save_mask(path: Path, labels: UInt8, palette: bool = True) -> None:
    """``labels`` as a palette PNG (as VOC's masks are) or a greyscale one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette:
        image.putpalette([(37 * i * (k + 1)) % 256 for i in range(256) for k in range(3)])
    image.save(path)


def write_voc(root: Path, train: int = 4, val: int = 4, seed: int = 0, palette: bool = True) -> Path:
    """A VOC folder: JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val}.txt; returns it.

    ``train`` and ``val``: images of each class.
    """
    for list_name, count in (("train", train), ("val", val)):
        names = []
        for scene in scenes(list_name, count, seed):
            save_image(root / "JPEGImages" / f"{scene.name}.jpg", scene.image)
            save_mask(root / "SegmentationClass" / f"{scene.name}.png", label_map(scene), palette)
            names.append(scene.name)
        write_list(root, list_name, names)
    return root


def save_image(path: Path, image: UInt8) -> None:
    """An RGB image file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def write_list(root: Path, list_name: str, names: list[str]) -> Path:
    """ImageSets/Segmentation/<list_name>.txt; returns it."""
    path = root / "ImageSets" / "Segmentation" / f"{list_name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def write_coco(root: Path, train: int = 4, val: int = 4, year: int = 2017, seed: int = 0) -> Path:
    """A COCO folder: train<year>/, val<year>/, annotations/instances_*.json; returns it.

    ``train`` and ``val``: images of each class. Category ids are 10, 20, ..., as COCO's own have gaps, and a
    category ``junk`` that no protocol names comes first. Image 0 of each class has a crowd region of that
    class as well, 10 x 4 pixels, in the corner at the bottom right.
    """
    for list_name, count in (("train", train), ("val", val)):
        folder = f"{list_name}{year}"
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for scene in scenes(list_name, count, seed):
            save_image(root / folder / f"{scene.name}.jpg", scene.image)
            number = len(images) + 1
            images.append({"id": number, "file_name": f"{scene.name}.jpg", "height": HEIGHT, "width": WIDTH})
            objects = [_polygon(box) for box in scene.boxes]
            if scene.name.endswith("_0"):
                objects.append(_crowd(Box(scene.boxes[0].class_id, WIDTH - 10, HEIGHT - 4, WIDTH, HEIGHT)))
            for entry in objects:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
        write_instances(root, folder, images, annotations)
    return root


def write_instances(
    root: Path, folder: str, images: list[Any], annotations: list[Any], classes: Sequence[str] = CLASSES
) -> Path:
    """annotations/instances_<folder>.json with the categories of ``write_coco``, 10 times the class; returns it."""
    categories = [{"id": 5, "name": "junk"}]
    categories += [{"id": 10 * i, "name": name} for i, name in enumerate(classes, start=1)]
    path = root / "annotations" / f"instances_{folder}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def _polygon(box: Box) -> dict[str, Any]:
    outline = [box.x0, box.y0, box.x1, box.y0, box.x1, box.y1, box.x0, box.y1]
    area = (box.x1 - box.x0) * (box.y1 - box.y0)
    return {"category_id": 10 * box.class_id, "iscrowd": 0, "segmentation": [outline], "area": area}


def _crowd(box: Box) -> dict[str, Any]:
    region = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    region[box.y0 : box.y1, box.x0 : box.x1] = 1
    rle = {"size": [HEIGHT, WIDTH], "counts": run_lengths(region)}
    return {"category_id": 10 * box.class_id, "iscrowd": 1, "segmentation": rle, "area": int(region.sum())}


def run_lengths(region: UInt8) -> list[int]:
    """COCO's uncompressed run lengths of a 0/1 mask: column by column, starting with the zeros."""
    flat = np.concatenate([[0], region.ravel(order="F"), [2]])
    changes = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], changes]))
    return [int(n) for n in lengths]


def write_protocol(path: Path, source: str = "voc", **values: Any) -> Path:
    """A protocol file for these data sets: 2 classes a fold, input 32 px, objects from 60 px; returns it.

    ``values`` replace the keys of ``[data]``, ``size``, ``count`` and ``classes`` (four or more, dealt to the
    folds in order).
    """
    names = list(values.pop("classes", CLASSES))
    size, count = values.pop("size", 32), values.pop("count", 20)
    data: dict[str, Any] = {
        "source": source,
        "root": f"tiny-{source}",
        "train_list": ["train"],
        "test_list": ["val"],
        "train_excludes_test": True,
        "min_object_pixels": 60,
        "novel_in_train": "background",
    }
    data |= {"voc": {"masks": ["SegmentationClass"]}, "coco": {"year": 2017}}.get(source, {})
    data |= values
    bounds = [round(i * len(names) / 4) for i in range(5)]
    lines = [
        f'name = "tiny-{source}"',
        "version = 1",
        'description = "A tiny data set of the tests"',
        f"classes = {json.dumps(names)}",
        "[folds]",
        *(f"{i + 1} = {json.dumps(names[bounds[i] : bounds[i + 1]])}" for i in range(4)),
        "[data]",
        *(f"{key} = {json.dumps(value)}" for key, value in data.items()),
        "[image]",
        f'size = {size}\nresize = "squash"\ndecoder = "pillow"',
        "[episodes]",
        f'count = {count}\nseed = 7\nclass_sampling = "uniform"\nsupport_replacement = false',
        "[scoring]",
        'void = "ignore"\nheadline = "input"\nscales = [1.0]',
        "[checkpoint]",
        'rule = "last"',
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tiny_protocol(folder: Path, source: str = "voc", **values: Any) -> Protocol:
    """The loaded protocol of ``write_protocol`` (file ``folder/tiny-<source>.toml``).

    Write the data to ``folder / "tiny-voc"`` or ``folder / "tiny-coco"`` and ``open_source(protocol, None)``
    finds them beside the file.
    """
    return load_protocol(write_protocol(folder / f"tiny-{source}.toml", source, **values))


def write_class_folders(root: Path, count: int = 6, classes: Sequence[str] = CLASSES, value: int = 255) -> Path:
    """``<class>/images/000.jpg`` and ``<class>/masks/000.png``; returns ``root``.

    Args:
        root: the folder, made if needed.
        count: images of each class.
        classes: names of the folders; at most eight.
        value: of the object's pixels in the greyscale masks.
    """
    for scene in scenes("train", count):
        main = scene.boxes[0]
        number = int(scene.name.rsplit("_", 1)[1])
        if main.class_id > len(classes):
            continue
        folder = root / classes[main.class_id - 1]
        save_image(folder / "images" / f"{number:03}.jpg", scene.image)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[main.y0 : main.y1, main.x0 : main.x1] = value
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / f"{number:03}.png")
    return root
