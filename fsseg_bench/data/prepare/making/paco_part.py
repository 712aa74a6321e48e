"""PACO-Part: the object parts of PACO-LVIS v1 as COCO's instances, and four folds of them.

Rule: the parts are the categories with a colon (``mug:handle``), 456 by the authors, in the order of their ids; fold f
has every fourth from the f-th on that at least two images of PACO's val show. This is not Matcher's PACO-Part: that
begins with 448 parts, of which some regions were left out for their area, and whose list was never published.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fsseg_bench.data.decode import read_json
from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.parts import Part, Photo, coco_table, json_bytes
from fsseg_bench.errors import UserError

FOLDS = 4
LEAST = 2
"""Images that show a class of a fold: a query and a support."""
_FOLDERS = ("train2017", "val2017")


def make(making: Making) -> None:
    """Puts the protocol, ``annotations/instances_val.json`` and ``images`` into the folder of the data set."""
    home = making.dataset.name
    file = making.root / home / "raw" / "paco_lvis_v1_val.json"
    table = read_json(file)
    photos = photos_of(table, file)
    classes = part_classes(table)
    folds, rare = folds_of(classes, photos)
    making.protocol({"classes": classes, **{f"fold{number}": names for number, names in enumerate(folds, start=1)}})
    making.write(f"{home}/annotations/instances_val.json", json_bytes(coco_table(photos, classes)))
    with making.progress.meter("images of parts", len(photos), unit="files") as meter:
        for photo in photos:
            path = making.root / "coco" / photo.file_name
            if not path.is_file():
                raise UserError(f"{path}: no such image, but {file} names it")
            making.link(path, f"{home}/images/{photo.file_name}")
            meter.advance()
    counts = ", ".join(f"{len(names)}" for names in folds)
    making.note(f"classes of the folds: {counts}; Matcher's at 1 shot, from another list of parts: 79, 82, 66, 76")
    if rare:
        making.note(f"parts that fewer than {LEAST} images show, in no fold: {shown(rare)}")


def part_classes(table: Mapping[str, Any]) -> list[str]:
    """The names of the categories that are parts, by id."""
    return [entry["name"] for entry in sorted(table["categories"], key=lambda one: int(one["id"])) if _part(entry)]


def photos_of(table: Mapping[str, Any], where: Path) -> list[Photo]:
    """The images that show a part, by file name, with their parts.

    Raises:
        UserError: another structure, or a part is of an object that is not in the file.
    """
    try:
        names = {entry["id"]: entry["name"] for entry in table["categories"] if _part(entry)}
        boxes = {entry["id"]: entry["bbox"] for entry in table["annotations"] if entry["category_id"] not in names}
        parts: dict[Any, list[Part]] = defaultdict(list)
        for entry in table["annotations"]:
            if entry["category_id"] in names:
                left, top, width, height = boxes[entry["obj_ann_id"]]
                box = (left, top, width, height)
                part = Part(names[entry["category_id"]], entry["obj_ann_id"], box, entry["segmentation"])
                parts[entry["image_id"]].append(part)
        images = {entry["id"]: entry for entry in table["images"]}
        photos = [
            Photo(_file(images[key]), images[key]["width"], images[key]["height"], some) for key, some in parts.items()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: is not as PACO-LVIS v1 has it: {error!r}") from None
    return sorted(photos, key=lambda photo: photo.file_name)


def folds_of(classes: Sequence[str], photos: Sequence[Photo]) -> tuple[list[list[str]], list[str]]:
    """The classes of each fold, and those of none, in the order of ``classes``."""
    images = Counter(name for photo in photos for name in {part.class_name for part in photo.parts})
    folds = [[name for name in classes[start::FOLDS] if images[name] >= LEAST] for start in range(FOLDS)]
    return folds, [name for name in classes if images[name] < LEAST]


def _part(category: Mapping[str, Any]) -> bool:
    return ":" in category["name"]


def _file(image: Mapping[str, Any]) -> str:
    """``train2017/<name>`` or ``val2017/<name>``, by the address, which says the folder; names need not."""
    name = PurePosixPath(image.get("coco_url") or image["file_name"])
    if name.parent.name not in _FOLDERS:
        raise ValueError(f"image {image['id']} of neither {' nor '.join(_FOLDERS)}")
    return f"{name.parent.name}/{name.name}"
