"""COCO instance files as one run-length mask for each (image, category): small, quick to open and to draw.

A file of COCO takes many seconds and gigabytes to parse. It is parsed once; the masks, drawn by pycocotools and
united for each image and category, are kept in the cache.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.cachefile import Arrays, load_arrays, save_arrays
from fsseg_bench.data.coco_boxes import BOX_ARRAYS, CropBoxes
from fsseg_bench.data.coco_json import parse_instances
from fsseg_bench.data.coco_notes import Kind, Notes
from fsseg_bench.errors import UserError
from fsseg_bench.paths import cache_root

_FORMAT = 2
"""Raised when what is kept in the cache changes."""
_ARRAYS = (
    *("category_ids", "category_names", "category_counts", "names", "sizes", "starts", "regions", "offsets", "counts"),
    *("notes", "note_names"),
)


@dataclass(frozen=True)
class Region:
    """All instances of one category in one image."""

    category: int
    """COCO's category id."""
    crowd: bool
    """Whether these are the crowd regions (``iscrowd``) or the single objects."""
    pixels: int
    """Pixels of the union."""
    counts: bytes
    """COCO's compressed run lengths of the union."""


@dataclass(frozen=True)
class Instances:
    """One instance file. Images are numbered as in ``names``."""

    categories: dict[int, str]
    """Category id to name."""
    names: tuple[str, ...]
    """Image file names, sorted; of crops those of their photos."""
    sizes: npt.NDArray[np.int64]
    """(images, 2) heights and widths, in pixels; those of crops where the images are crops."""
    annotations: dict[int, int]
    """Category id to the number of its annotations, crowds and those that are left out among them."""
    notes: Notes
    """What was left out or read otherwise than as it is written."""
    _arrays: Arrays = field(repr=False)
    """``starts`` (images + 1,): where each image's rows begin in ``regions`` (regions, 3): category, crowd (0 or 1),
    pixels. ``offsets`` (regions + 1,): where each region's run lengths begin in ``counts``."""
    crops: CropBoxes | None = None
    """Where the images are crops: of what."""

    def photo_size(self, number: int) -> tuple[int, int]:
        """(width, height) of the whole photo of image ``number``, in pixels."""
        height, width = (self.sizes if self.crops is None else self.crops.photo_sizes)[number].tolist()
        return width, height

    def regions(self, number: int) -> Iterator[Region]:
        """The regions of image ``number``, by category, single objects before crowds."""
        starts, regions, offsets, counts = (self._arrays[key] for key in ("starts", "regions", "offsets", "counts"))
        for i in range(starts[number], starts[number + 1]):
            category, crowd, pixels = regions[i].tolist()
            yield Region(category, bool(crowd), pixels, counts[offsets[i] : offsets[i + 1]].tobytes())

    def united(self, number: int) -> Iterator[Region]:
        """As :meth:`regions`, with crowds as objects of their category like all others."""
        same = itertools.groupby(self.regions(number), key=lambda region: region.category)
        for category, found in ((category, list(regions)) for category, regions in same):
            union = coco_mask.merge([{"size": self.sizes[number].tolist(), "counts": r.counts} for r in found])
            yield Region(category, False, int(coco_mask.area(union)), union["counts"])

    def crowded(self) -> list[str]:
        """Categories whose crowd regions look like single objects: of all categories where most annotations are crowds,
        else of each category that has nothing else. Some tools write ``iscrowd`` 1 for each mask that is no polygon."""
        crowds = Counter(note.category for note in self.notes if note.kind is Kind.CROWD)
        most = 2 * crowds.total() > sum(self.annotations.values())
        found = [
            category
            for category, n in crowds.items()
            if category in self.categories and (most or n == self.annotations[category])
        ]
        return [self.categories[category] for category in sorted(found)]

    def images_of(self, category: int) -> npt.NDArray[np.int64]:
        """The numbers of the images that have a region of ``category``, ascending."""
        rows = np.flatnonzero(self._arrays["regions"][:, 0] == category)
        return np.unique(np.searchsorted(self._arrays["starts"], rows, side="right") - 1)

    def draw(self, number: int, region: Region) -> npt.NDArray[np.bool_]:
        """(H, W) bool: where ``region`` of image ``number`` is."""
        drawn: UInt8 = coco_mask.decode({"size": self.sizes[number].tolist(), "counts": region.counts})
        return drawn.view(np.bool_)


def load_instances(path: Path, *, crops: bool = False) -> Instances:
    """The instance file ``path``; from the cache if its size and time are as they were.

    With ``crops``, the images are the crops to the objects whose parts the file has.

    Raises:
        UserError: missing, not JSON, not an instance file of COCO, or a wrong entry; names the file and entry.
    """
    try:
        facts = path.stat()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise UserError(f"{path}: {reason}; put COCO's instance annotations there") from None
    key = f"{_FORMAT}\n{path.resolve()}\n{facts.st_size}\n{facts.st_mtime_ns}" + ("\ncrops" if crops else "")
    cached = cache_root() / "coco" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    arrays = load_arrays(cached, (*_ARRAYS, *BOX_ARRAYS) if crops else _ARRAYS)
    if arrays is None:
        arrays = parse_instances(path, crops=crops)
        save_arrays(cached, arrays)
    return Instances(
        categories=dict(zip(arrays["category_ids"].tolist(), arrays["category_names"].tolist(), strict=True)),
        names=tuple(arrays["names"].tolist()),
        sizes=arrays["sizes"],
        annotations=dict(zip(arrays["category_ids"].tolist(), arrays["category_counts"].tolist(), strict=True)),
        notes=Notes.of_arrays(arrays),
        _arrays=arrays,
        crops=CropBoxes.of_arrays(arrays) if crops else None,
    )
