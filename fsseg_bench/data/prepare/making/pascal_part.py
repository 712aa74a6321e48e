"""Pascal-Part: the merged parts that Matcher's archive gives for VOC 2010, as COCO's instances.

Rule: an image shows a class (``bird FACE``) where the archive's lists have it in val, with all parts of that name of
all its birds; an annotation is one region of a part and has its object's number and box. The box ends before ``xmax``
and ``ymax``, as the crop of the authors' code does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.data.decode import image_size, read_json
from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.parts import Part, Photo, coco_table, json_bytes
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol

PARTS, LISTS = "Annotations_Part_json_merged_part_classes", "all_obj_part_to_image.json"
VOC = "VOCdevkit/VOC2010"
"""Where the files of the archive and VOC's images lie, under the data root."""
STATED = "published logs: 2,500 or more, 959, 2,500 or more, 2,500 or more"
"""The number of episodes of a fold there is the smaller one of 2,500 and of its entries."""


def make(making: Making) -> None:
    """Puts ``annotations/instances_val.json`` and ``images`` into the protocol's root."""
    protocol = load_protocol(making.dataset.protocols[0])
    home, place = making.dataset.name, making.root / VOC
    listed, others = listed_images(read_json(place / LISTS), protocol.classes, place / LISTS)
    missing: list[str] = []
    photos: list[Photo] = []
    with making.progress.meter("annotations of parts", len(listed), unit="files") as meter:
        for image in sorted(listed):
            file = place / PARTS / f"{image}.json"
            parts = parts_of(read_json(file), listed[image], file)
            missing += [f"{image} {name}" for name in sorted(listed[image] - {part.class_name for part in parts})]
            width, height = image_size(place / "JPEGImages" / f"{image}.jpg")
            photos.append(Photo(f"{image}.jpg", width, height, parts))
            making.link(place / "JPEGImages" / f"{image}.jpg", f"{home}/images/{image}.jpg")
            meter.advance()
    making.write(f"{home}/annotations/instances_val.json", json_bytes(coco_table(photos, protocol.classes)))
    entries = [
        sum(len(names & shown_here) for shown_here in listed.values()) for names in map(set, protocol.folds.values())
    ]
    making.note(f"val entries (image, part) of the folds: {', '.join(f'{n:,}' for n in entries)}; {STATED}")
    if others:
        making.note(f"parts that the benchmark does not score, left out: {shown(others)}")
    if missing:
        making.note(f"images listed for a part that their annotations do not have, not used for it: {shown(missing)}")


def listed_images(table: Any, classes: Sequence[str], where: Path) -> tuple[Mapping[str, frozenset[str]], list[str]]:
    """Image id to the classes that it is listed for in val, and the names of other parts, sorted.

    ``table`` is group to object to part to lists. A part's name may differ from that in ``classes`` in an S at its end:
    the archive's own spelling was not to be seen when the list of classes was made.

    Raises:
        UserError: another structure, a class that is not there, or two parts that would be one class.
    """
    known = {_singular(name): name for name in classes}
    found: dict[str, set[str]] = defaultdict(set)
    spelled: dict[str, str] = {}
    others: list[str] = []
    for name, images in _entries(table, where):
        class_name = known.get(_singular(name))
        if class_name is None:
            others.append(name)
            continue
        if class_name in spelled:
            raise UserError(f"{where}: {spelled[class_name]!r} and {name!r} would both be the class {class_name!r}")
        spelled[class_name] = name
        for image in images:
            found[image].add(class_name)
    if lacking := [name for name in classes if name not in spelled]:
        raise UserError(
            f"{where}: of the {len(classes)} classes {shown(lacking)} are not in it; it has {shown(others)} beside the "
            "others, so that it is another archive"
        )
    return {image: frozenset(names) for image, names in found.items()}, sorted(others)


def parts_of(entry: Any, classes: frozenset[str], where: Path) -> list[Part]:
    """The parts of ``classes`` in an annotation file: objects with ``name``, ``bndbox`` and ``parts``.

    Raises:
        UserError: another structure.
    """
    known = {_singular(name): name for name in classes}
    found: list[Part] = []
    try:
        for number, thing in enumerate(entry["object"]):
            left, top, right, bottom = (int(thing["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            box = (left, top, right - left, bottom - top)
            for part in thing["parts"]:
                if name := known.get(_singular(f"{thing['name']} {part['name']}")):
                    found += [Part(name, number, box, region) for region in part["mask"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: is not as Matcher's archive has it: {error!r}") from None
    return found


def _entries(table: Any, where: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """The name of each part of each object, and its val images; parts that lack train or val images are no classes."""
    try:
        for group in table.values():
            for thing, parts in group["object"].items():
                for part, images in parts["part"].items():
                    if images["train"] and images["val"]:
                        yield f"{thing} {part}", images["val"]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{where}: is not as Matcher's archive has it: {error!r}") from None


def _singular(name: str) -> str:
    return name.removesuffix("S")
