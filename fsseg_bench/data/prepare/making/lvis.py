"""The classes and folds of LVIS-92i, by Matcher's rule, from the official annotations of LVIS v1.

With K shots, the categories that more than K images of val show, in the order of their ids: ``kept``, n in all. With
m = n // 10, fold f of 1 to 10 has ``kept[f - 1 + 10 v]`` for v from 0 to m - 1; the last n mod 10 are in no fold. K = 1
gives folds of 92 classes, and K = 5 folds of 68 *other* classes: two benchmarks that papers call by one name, here two
protocols. Folds depend on their protocol alone, never on ``--shot``.

Images are counted in the annotations: the distinct image ids of a category. Categories in no fold are base classes of
every fold. The order by id is inferred from the published results of each class, not stated by the authors.

LVIS does not look for every class in every image. Of a test pair (image, class) whose image is marked as not exhaustive
for the class, objects may have no outline, and right pixels count as wrong; no published loader looks at that, and how
many pairs it concerns is said.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from fsseg_bench.data.coco_text import read_table
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.errors import UserError

ANNOTATIONS = "coco/annotations/lvis_v1_val.json"
FOLDS = 10
SHOTS = {"lvis92i-1shot": 1, "lvis92i-5shot": 5}
"""Data set to K."""
CLASSES_A_FOLD = {1: 92, 5: 68}
"""What results published for K shots have."""
CATEGORIES = 1203
"""Of LVIS v1."""


def make(making: Making) -> None:
    """Writes the protocol of the data set with its lists of classes.

    Raises:
        UserError: the annotations cannot be read, or have too few categories with more than K images.
    """
    shots, path = SHOTS[making.dataset.name], making.root / ANNOTATIONS
    table = read_table(path)
    names = _names(table, path)
    shown = images_by_category(table)
    kept = [category for category in names if len(shown[category]) > shots]
    if len(kept) < FOLDS:
        raise UserError(f"{path}: {len(kept)} categories are in more than {shots} images; {FOLDS} folds need as many")
    folds = deal(kept)
    rest = [category for category in names if not any(category in fold for fold in folds)]
    lists = {"classes": list(names), "rest": rest, **{f"fold{f}": fold for f, fold in enumerate(folds, start=1)}}
    making.protocol({name: [names[category] for category in some] for name, some in lists.items()})
    for text in _told(names, kept, folds, shots):
        making.note(text)
    pairs, open_pairs = not_exhaustive(table, shown, {category for fold in folds for category in fold})
    making.note(
        f"{open_pairs:,} of {pairs:,} test pairs (image, class) of the folds are marked as not exhaustive: objects of "
        "the class may have no outline there, and count as background"
    )


def deal(kept: list[int]) -> list[list[int]]:
    """The folds of the categories that are kept, in order."""
    size = len(kept) // FOLDS
    return [kept[fold : fold + FOLDS * size : FOLDS] for fold in range(FOLDS)]


def images_by_category(table: dict[str, Any]) -> defaultdict[int, set[int]]:
    """Category id to the ids of the images that have an annotation of it."""
    shown: defaultdict[int, set[int]] = defaultdict(set)
    for entry in table["annotations"]:
        shown[entry["category_id"]].add(entry["image_id"])
    return shown


def not_exhaustive(table: dict[str, Any], shown: defaultdict[int, set[int]], classes: set[int]) -> tuple[int, int]:
    """How many pairs (image, class) of ``classes`` there are, and how many of them are marked as not exhaustive."""
    key = "not_exhaustive_category_ids"
    marked = {(image["id"], category) for image in table["images"] for category in image.get(key, ())}
    pairs = [(image, category) for category in classes for image in shown[category]]
    return len(pairs), sum(pair in marked for pair in pairs)


def _names(table: dict[str, Any], path: Path) -> dict[int, str]:
    """Category id to name, by id."""
    try:
        names = {int(entry["id"]): str(entry["name"]).strip() for entry in table["categories"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: a category has no id or no name; take the annotations as published") from None
    return dict(sorted(names.items()))


def _told(names: dict[int, str], kept: list[int], folds: list[list[int]], shots: int) -> list[str]:
    lines = [
        f"{len(kept):,} of {len(names):,} categories are in more than {shots} image{'s' if shots > 1 else ''} of val: "
        f"{FOLDS} folds of {len(folds[0])} classes, {len(kept) - FOLDS * len(folds[0])} over"
    ]
    usual = CLASSES_A_FOLD[shots]
    if len(folds[0]) != usual or len(names) != CATEGORIES:
        lines.append(
            f"published results have {FOLDS} folds of {usual} classes, from {FOLDS * usual} to {FOLDS * usual + 9} "
            f"categories of {CATEGORIES:,}: these are other annotations, and other classes"
        )
    return lines
