"""The boxes of the objects whose parts a COCO file annotates, and the parts cut to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from fsseg_bench.conventions import Int64
from fsseg_bench.data.cachefile import Arrays
from fsseg_bench.data.coco_notes import NOWHERE
from fsseg_bench.data.outlines import Drawn

BOX_ARRAYS = ("boxes", "objects", "photo_sizes", "uncut")
"""Names of the arrays of :class:`CropBoxes`."""

_Object = tuple[int, int]
"""The number of a photo and that of an object in it."""
_Box = tuple[int, int, int, int]
"""Its first column and row, and the first ones behind it, in whole pixels of the photo."""


class CropBoxes(NamedTuple):
    """What the images of a file are crops of."""

    boxes: Int64
    """(crops, 4) first column and row, and the first ones behind the crop, in pixels of the photo."""
    objects: Int64
    """(crops,) the object's number in its photo."""
    photo_sizes: Int64
    """(crops, 2) height and width of the whole photo, in pixels."""
    uncut: int
    """Photos without any object, of which there is no crop."""

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> CropBoxes:
        """From the cache."""
        return cls(arrays["boxes"], arrays["objects"], arrays["photo_sizes"], int(arrays["uncut"]))


@dataclass
class Boxes:
    """The objects of a file, each with its box: ``[x, y, width, height]`` from ``int(x)`` to ``int(x + width)``,
    the last excluded, as far as it lies in the photo."""

    names: Sequence[str]
    """Of the photos."""
    sizes: Sequence[tuple[int, int]]
    """Of the photos, (height, width)."""
    _given: dict[_Object, tuple[list[float], Any]] = field(default_factory=dict)
    """The box as it is written, and the id of the annotation that has it."""
    _numbers: dict[_Object, int] = field(default_factory=dict)

    def add(self, photo: int, entry: Mapping[str, Any], number: int) -> None:
        """The object ``number`` of an annotation, which is a part of it.

        Raises:
            ValueError: no box, or another part of the object has another one; says so.
        """
        box = entry.get("object_bbox")
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(type(value) in {int, float} and math.isfinite(value) for value in box)
            or min(box[2:]) < 0
        ):
            raise ValueError(f"object_bbox is {repr(box)[:60]}; it must be [x, y, width, height] in pixels")
        first, other = self._given.setdefault((photo, number), (box, entry.get("id")))
        if first != box:
            raise ValueError(f"object {number} has the box {box}, but {first} in annotation {other} of the same image")

    def close(self) -> None:
        """Numbers the crops by the photo's name and the object, after all were added; an empty box is none."""
        found = [key for key in sorted(self._given) if not _empty(self._box(key))]
        self._numbers = {key: number for number, key in enumerate(found)}

    def place(self, photo: int, number: int) -> int:
        """The number of an object's crop; :data:`NOWHERE` where its box has no pixel of the photo."""
        return self._numbers.get((photo, number), NOWHERE)

    def cut(self, shown: Drawn, photo: int, number: int) -> Drawn:
        """A part, drawn in the whole photo, as it is in the crop of its object."""
        if self.place(photo, number) == NOWHERE or shown.region is None:
            return shown._replace(pixels=0)
        x0, y0, x1, y1 = self._box((photo, number))
        inside = np.asfortranarray(coco_mask.decode(shown.region)[y0:y1, x0:x1])
        return shown._replace(region=coco_mask.encode(inside), pixels=int(inside.sum(dtype=np.int64)))

    @property
    def crop_names(self) -> list[str]:
        """The photo's name of each crop."""
        return [self.names[photo] for photo, _ in self._numbers]

    @property
    def crop_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each crop."""
        return [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in map(self._box, self._numbers)]

    def to_arrays(self) -> Arrays:
        """See :class:`CropBoxes`."""
        keys = list(self._numbers)
        return {
            "boxes": np.array([self._box(key) for key in keys], dtype=np.int64).reshape(-1, 4),
            "objects": np.array([number for _, number in keys], dtype=np.int64),
            "photo_sizes": np.array([self.sizes[photo] for photo, _ in keys], dtype=np.int64).reshape(-1, 2),
            "uncut": np.array(len(self.names) - len({photo for photo, _ in keys})),
        }

    def _box(self, key: _Object) -> _Box:
        x, y, width, height = self._given[key][0]
        bottom, right = self.sizes[key[0]]
        # whole numbers towards 0, as the papers' code takes them; what is outside the photo is not there
        x0, x1 = (min(max(int(value), 0), right) for value in (x, x + width))
        y0, y1 = (min(max(int(value), 0), bottom) for value in (y, y + height))
        return x0, y0, x1, y1


def _empty(box: _Box) -> bool:
    x0, y0, x1, y1 = box
    return x0 >= x1 or y0 >= y1
