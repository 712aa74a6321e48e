"""Labelled images in a common form, on their way from a labelling tool's files to COCO's instances."""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from fsseg_bench.data.decode import IMAGE_SUFFIXES, image_size
from fsseg_bench.data.files import check_name, find_named, spellings, suffix_of
from fsseg_bench.data.outlines import encode_mask
from fsseg_bench.data.own.tools import files_below
from fsseg_bench.errors import UserError

Points = Sequence[Sequence[float]]
"""(x, y) in pixels."""
_CORNERS_OF_CIRCLE = 64
ALL = "all"


@dataclass(frozen=True)
class Shape:
    """One labelled area."""

    label: str
    segmentation: Any
    """As COCO has it: polygons, or run lengths."""


@dataclass(frozen=True)
class Labelled:
    """An image and its areas."""

    image: Path
    list_name: str
    width: int
    height: int
    shapes: list[Shape]
    file: Path
    """The file of its labels."""


@dataclass
class Reading:
    """What a reader is given, and what it says of what it could not use."""

    root: Path
    said: Counter[str] = field(default_factory=Counter)
    """What was left out or taken in an unusual way, with its count."""
    file: Path | None = None
    """The file that is read now, for messages."""

    @cached_property
    def files(self) -> list[Path]:
        """All files below the root, hidden ones apart."""
        return list(files_below(self.root))

    @cached_property
    def _images(self) -> dict[str, list[Path]]:
        images: dict[str, list[Path]] = {}
        for path in self.files:
            if suffix_of(path.name) in IMAGE_SUFFIXES:
                images.setdefault(path.name.lower(), []).append(path)
        return images

    def image(self, file: Path, name: str, folders: Sequence[Path] = ()) -> Path:
        """The image that ``file`` calls ``name``: beside it, in ``folders``, or the only one so called below the root.

        Raises:
            UserError: there is none, there are several, or it is outside the root.
        """
        for folder in (file.parent, *folders):
            for spelling in spellings(name):
                path = Path(os.path.normpath(folder / spelling))
                last = PurePosixPath(spelling).name
                if found := find_named(path.parent, path.name) or find_named(folder, last):
                    return self.inside(file, found)
        last = next(reversed(list(spellings(name)))).rpartition("/")[2].lower()
        found_below = self._images.get(last, [])
        if len(found_below) == 1:
            check_name(found_below[0])
            return found_below[0]
        what = f"{len(found_below)} images are called so" if found_below else "there is no such image"
        raise UserError(f"{file}: its image is {name!r}, but below {self.root} {what}; put it beside the file")

    def inside(self, file: Path, image: Path) -> Path:
        """``image``, which ``file`` labels.

        Raises:
            UserError: it is outside the root, or its name is not UTF-8.
        """
        image = Path(os.path.normpath(image))
        if not image.is_relative_to(self.root):
            raise UserError(f"{file}: its image {image} lies outside {self.root}; give a folder with both")
        check_name(image)
        return image

    def size(self, image: Path, width: Any, height: Any) -> tuple[int, int]:
        """(width, height) as the labels' file has them, else the image's own."""
        if type(width) is int and type(height) is int and min(width, height) > 0:
            return width, height
        return image_size(image, upright=True)

    def list_of(self, file: Path, folder: str = "") -> str:
        """The list of an image: the folders between the root and its file (without ``folder`` at their end)."""
        parts = [part for part in file.parent.relative_to(self.root).parts if part != folder]
        return "-".join(parts) or ALL


def polygon(points: Points) -> list[list[float]] | None:
    """COCO's polygons of one outline; None for less than three points."""
    return [[float(value) for point in points for value in point[:2]]] if len(points) > 2 else None


def rectangle(first: Sequence[float], last: Sequence[float]) -> list[list[float]] | None:
    """COCO's polygons of a rectangle between two corners."""
    (x0, y0), (x1, y1) = first[:2], last[:2]
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def ellipse(centre: Sequence[float], across: float, down: float) -> list[list[float]] | None:
    """COCO's polygons of an ellipse with the given half axes."""
    turns = [2 * math.pi * i / _CORNERS_OF_CIRCLE for i in range(_CORNERS_OF_CIRCLE)]
    return polygon([(centre[0] + across * math.cos(t), centre[1] + down * math.sin(t)) for t in turns])


def placed(png: bytes, left: int, top: int, width: int, height: int) -> npt.NDArray[np.bool_]:
    """(height, width) bool: the mask in ``png`` with its corner at (left, top), cut at the image's edges.

    Raises:
        OSError, ValueError: not an image.
    """
    with Image.open(io.BytesIO(png)) as file:
        opaque = np.array(file.getchannel("A")) if "A" in file.getbands() else np.array(file.convert("L"))
    mask = np.zeros((height, width), dtype=np.bool_)
    rows, columns = slice(max(top, 0), top + opaque.shape[0]), slice(max(left, 0), left + opaque.shape[1])
    part = opaque[max(-top, 0) :, max(-left, 0) :][: height - rows.start, : width - columns.start]
    mask[rows, columns] = part > 0
    return mask


def with_holes(outline: Points, holes: Sequence[Points], width: int, height: int) -> dict[str, Any] | None:
    """Run lengths of an outline without the holes in it; None for less than three points."""

    def inside(points: Points) -> npt.NDArray[np.bool_]:
        flat = polygon(points)
        if flat is None:
            return np.zeros((height, width), dtype=np.bool_)
        drawn = coco_mask.decode(coco_mask.frPyObjects(flat, height, width)[0])
        return np.asarray(drawn, dtype=np.bool_)

    if len(outline) < 3:
        return None
    mask = inside(outline)
    for hole in holes:
        mask &= ~inside(hole)
    return encode_mask(mask)
