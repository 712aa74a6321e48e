"""Small archives in the layouts of the official ones, with a sources file that describes them.

PASCAL: 20 classes; image ``2008_<n>`` shows one box of 52 x 48 pixels (2,496) of class n mod 20 + 1. VOC train has
images 0 to 39, VOC val 40 to 79; SBD has 20 to 59 and 80 to 119 in its two lists, so that trainaug by rule is 0 to
39 and 80 to 119. (These are for ``unit`` 20; with another one the numbers are in proportion.) COCO: 80 categories
with two images in each list.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fsseg_bench.protocol.load import load_protocol
from tests.support.sbd import write_sbd

SIZE = 64
TRAINAUG, VAL = 80, 40
VOC, SBD = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"
Files = dict[str, bytes]


class Box(NamedTuple):
    """Where the object of an image is."""

    x: int
    y: int
    width: int = 52
    height: int = 48


def voc_name(number: int) -> str:
    return f"2008_{number:06d}"


def box_of(number: int) -> Box:
    return Box(number * 5 % 11, number * 3 % 15)


def jpeg(number: int) -> bytes:
    """A 64 x 64 picture: a box in the colour of its class on grey; no two are alike."""
    image = np.full((SIZE, SIZE, 3), 110 + number // 220, dtype=np.uint8)
    box, kind = box_of(number), number % 20
    image[box.y : box.y + box.height, box.x : box.x + box.width] = (kind * 12, 255 - kind * 12, kind * 40 % 256)
    return encoded(Image.fromarray(image), "JPEG")


def labels(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.zeros((SIZE, SIZE), dtype=np.uint8)
    box = box_of(number)
    values[box.y : box.y + box.height, box.x : box.x + box.width] = number % 20 + 1
    values[box.y, box.x : box.x + 4] = 255
    return values


def mask(number: int) -> bytes:
    image = Image.fromarray(labels(number))
    image.putpalette([(37 * i * (k + 1)) % 256 for i in range(256) for k in range(3)])
    return encoded(image, "PNG")


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def lines(numbers: range | list[int]) -> bytes:
    return "".join(f"{voc_name(n)}\n" for n in numbers).encode()


def voc_files(unit: int = 20) -> Files:
    """What the VOC tar holds, with some of what is not kept."""
    top = "VOCdevkit/VOC2012"
    files = {f"{top}/JPEGImages/{voc_name(n)}.jpg": jpeg(n) for n in range(6 * unit)}
    files |= {f"{top}/SegmentationClass/{voc_name(n)}.png": mask(n) for n in range(4 * unit)}
    files |= {f"{top}/SegmentationObject/{voc_name(n)}.png": b"not kept" for n in range(3)}
    lists = {"train": range(2 * unit), "val": range(2 * unit, 4 * unit), "trainval": range(4 * unit)}
    files |= {f"{top}/ImageSets/Segmentation/{name}.txt": lines(numbers) for name, numbers in lists.items()}
    return files | {f"{top}/ImageSets/Main/train.txt": b"x\n", f"{top}/Annotations/2008_000000.xml": b"<x/>"}


def sbd_files(folder: Path, unit: int = 20) -> Files:
    """What the SBD tgz holds, with some of what is not kept; ``folder`` is for a file of scipy's."""
    top = "benchmark_RELEASE/dataset"
    files = {"benchmark_RELEASE/README": b"not kept", f"{top}/img/{voc_name(unit)}.jpg": jpeg(unit)}
    train, val = [*range(unit, 3 * unit), *range(4 * unit, 5 * unit)], range(5 * unit, 6 * unit)
    for number in [*train, *val]:
        write_sbd(folder / "mask.mat", labels(number))
        files[f"{top}/cls/{voc_name(number)}.mat"] = (folder / "mask.mat").read_bytes()
    return files | {f"{top}/train.txt": lines(train), f"{top}/val.txt": lines(val)}


def coco_files(year: int) -> dict[str, Files]:
    """The content of each of the three zips of COCO, by archive name."""
    names = load_protocol("coco20i-a").classes
    archives: dict[str, Files] = {f"annotations_trainval{year}.zip": {}}
    for part, list_name in enumerate(("train", "val")):
        folder = f"{list_name}{year}"
        images, objects, files = [], [], {f"{folder}/": b""}  # COCO's zips hold their folders as members
        for i in range(2 * len(names)):
            number = part * 1000 + i
            file = f"COCO_{folder}_{number:012d}.jpg" if year == 2014 else f"{number:012d}.jpg"
            files[f"{folder}/{file}"] = jpeg(number)
            images.append({"id": number, "file_name": file, "height": SIZE, "width": SIZE})
            objects.append(coco_object(len(objects) + 1, number, i % len(names) + 1))
        categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
        table = {"info": {}, "images": images, "annotations": objects, "categories": categories}
        archives[f"{folder}.zip"] = files
        annotations = archives[f"annotations_trainval{year}.zip"]
        annotations[f"annotations/instances_{folder}.json"] = json.dumps(table).encode()
        annotations[f"annotations/captions_{folder}.json"] = b"{}"
    return archives


def coco_object(key: int, image: int, category: int) -> dict[str, Any]:
    box = box_of(image)
    right, bottom = box.x + box.width, box.y + box.height
    outline = [box.x, box.y, right, box.y, right, bottom, box.x, bottom]
    return {"id": key, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation": [outline]}


def tar(files: Files, mode: str = "w") -> bytes:
    """A tar archive of files in their order; the same bytes every time without compression."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: Files) -> bytes:
    """A zip archive; names that end in ``/`` are folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Small(NamedTuple):
    """Small archives by name, and the sources file that describes them."""

    archives: Files
    sources: Path


def small_pascal(folder: Path, unit: int = 20) -> Small:
    archives = {VOC: tar(voc_files(unit)), SBD: tar(sbd_files(folder, unit), "w:gz")}
    counts = {VOC: [6 * unit, 4 * unit, 3], SBD: [4 * unit, 1, 1]}
    return Small(archives, _sources(folder, archives, counts, {"trainaug": 4 * unit, "val": 2 * unit}))


def small_coco(folder: Path, year: int) -> Small:
    archives = {name: zipped(files) for name, files in coco_files(year).items()}
    counts = {name: [160] for name in archives} | {f"annotations_trainval{year}.zip": [1, 1]}
    return Small(archives, _sources(folder, archives, counts, {"train": 160, "val": 160}))


def _sources(folder: Path, archives: Files, counts: dict[str, list[int]], images: dict[str, int]) -> Path:
    """The sources file of the package with the sizes, checksums and counts of small archives, and no addresses."""
    import tomllib

    from fsseg_bench.data.prepare import sources

    table = tomllib.loads(Path(sources.__file__).with_name("sources.toml").read_text(encoding="utf-8"))
    out = []
    for name, part in table["parts"].items():
        if part["archive"] not in archives:
            continue
        content = archives[part["archive"]]
        kind = "sha256" if "sha256" in part else "md5"
        part |= {"urls": [], "size": len(content), kind: hashlib.new(kind, content).hexdigest(), "unpacked": 1_000_000}
        part["files"] = dict(zip(part["files"], counts[part["archive"]], strict=True))
        if "instead" in part:
            part["instead"]["files"] = dict(zip(part["instead"]["files"], [images["trainaug"], 1], strict=True))
        out.append((f"parts.{name}", part))
    kept = {name.removeprefix("parts.") for name, _ in out}
    for name, dataset in table["datasets"].items():
        if dataset["parts"] and kept.issuperset(dataset["parts"]):
            out.append((f"datasets.{name}", {**dataset, "images": images}))
    path = folder / "sources.toml"
    path.write_text("\n".join(_toml(head, values) for head, values in out), encoding="utf-8")
    return path


def _toml(head: str, values: dict[str, Any]) -> str:
    rows = [f"{key} = {_value(value)}" for key, value in values.items() if not _is_table(key, value)]
    tables = [_toml(f"{head}.{key}", value) for key, value in values.items() if _is_table(key, value)]
    return "\n".join([f"[{head}]", *rows, *tables]) + "\n"


def _is_table(key: str, value: Any) -> bool:
    return isinstance(value, dict) and key not in {"files", "images"}


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {v}" for k, v in value.items()) + " }"
    return json.dumps(value)


def tree(root: Path) -> dict[str, bytes]:
    """Every file under a folder with its content."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
