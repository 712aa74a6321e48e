"""What is written for each query: pictures, and instances in COCO's form."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from fsseg_bench.data.outlines import encode_mask
from fsseg_bench.engine.predict.ahead import THREADS, ahead
from fsseg_bench.engine.predict.predictor import Segmentation
from fsseg_bench.engine.predict.queries import Query
from fsseg_bench.engine.predict.upright import upright
from fsseg_bench.errors import UserError
from fsseg_bench.pictures.overlay import colour, overlay
from fsseg_bench.storage.files import atomic_writer, make_folder, sync_folder, write_atomic
from fsseg_bench.version import __version__

Format = Literal["png", "coco"]
PICTURES: tuple[Format, ...] = ("png",)
KINDS = ("mask", "overlay", "probability")
"""The pictures of a query: ``<name>-mask.png`` and so on."""
COCO_FILE = "predictions.json"
LEGEND_FILE = "legend.csv"


class Outputs:
    """The folder of one call."""

    def __init__(
        self, folder: Path, queries: Sequence[Query], classes: Sequence[str], formats: Collection[Format] = PICTURES
    ) -> None:
        """Makes the folder, after a check that nothing in it would be written twice or taken for a query.

        Args:
            folder: for all outputs; those of a query of a subfolder lie in a subfolder.
            queries: what will be written.
            classes: names of the classes, in the order of their values.
            formats: ``png``: pictures, for several classes with a legend; ``coco``: one JSON file.

        Raises:
            UserError: queries whose files would have one name, queries in the folder, or it cannot be made.
        """
        self.folder = folder
        self._classes, self._formats, self._pictures = classes, formats, "png" in formats
        targets: dict[Path, Path] = {}
        for query in queries:
            if self._holds(query.path):
                raise UserError(
                    f"--out {folder} holds the query {query.path.name}; give a folder for the results alone"
                )
            other = targets.setdefault(self._place(query.name, KINDS[0]), query.path)
            if other is not query.path:
                raise UserError(
                    f"{other} and {query.path} would write the same files in {folder}; segment them one by one"
                )
        self.notes = self._notes(queries)
        """What lies in the folder from earlier calls, in words."""
        make_folder(folder)
        for parent in {path.parent for path in targets} if self._pictures else ():
            make_folder(parent)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def write_all(self, results: Iterable[tuple[Query, Segmentation]]) -> Iterator[tuple[Query, Segmentation, Path]]:
        """Writes queries' results as they come, and hands them on with the mask's path.

        Pictures have the upright query's size. The mask of one class is greyscale: 255 on the object, 0 elsewhere; of
        several a palette picture of label values. The probability is 16-bit greyscale: 0 to 65535 for 0 to 1. Without
        pictures the path is that of the COCO file.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        for (query, result), writing in ahead(self._write, self._noted(results), THREADS):
            writing.result()
            yield query, result, self._place(query.name, KINDS[0]) if self._pictures else self.folder / COCO_FILE

    def _noted(self, results: Iterable[tuple[Query, Segmentation]]) -> Iterator[tuple[Query, Segmentation]]:
        for query, result in results:
            if "coco" in self._formats:  # here, since its numbers go by order
                self._note(query, result)
            yield query, result

    def _write(self, of: tuple[Query, Segmentation]) -> None:
        if not self._pictures:
            return
        query, result = of
        pictures = {
            "mask": _mask_picture(result),
            "overlay": Image.fromarray(overlay(upright(query.path), result.mask)),
            "probability": Image.fromarray(np.rint(result.probability * np.float32(65535)).astype(np.uint16)),
        }
        for kind, picture in pictures.items():
            with atomic_writer(self._place(query.name, kind), sync=False) as file:
                # photographs of 12 megapixels: a second each, and 10 % larger files than in six seconds
                picture.save(file, format="PNG", compress_level=6 if kind == "mask" else 1)

    def leave_out(self, query: Query) -> None:
        """Removes what an earlier call wrote for a query that cannot be segmented now."""
        for path in self._targets(query):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Writes what is about all queries together.

        Raises:
            UserError: as :meth:`write_all`.
        """
        if self._pictures and len(self._classes) > 1:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                [("value", "name"), (0, "background"), *enumerate(self._classes, start=1)]
            )
            write_atomic(self.folder / LEGEND_FILE, text.getvalue())
        if "coco" in self._formats:
            content = {
                "info": {"description": f"Predictions of fsseg-bench {__version__}"},
                "images": self._images,
                "annotations": self._annotations,
                "categories": [{"id": i, "name": name} for i, name in enumerate(self._classes, start=1)],
            }
            write_atomic(self.folder / COCO_FILE, json.dumps(content, separators=(",", ":")))
        sync_folder(self.folder)

    def _holds(self, path: Path) -> bool:
        """Whether an image is beside the outputs, or an output itself."""
        folder, place = (Path(os.path.realpath(each)) for each in (self.folder, path))  # also of links in a circle
        ours = any(place.name.endswith(f"-{kind}.png") for kind in KINDS)
        return place.parent == folder or (ours and folder in place.parents)

    def _place(self, name: PurePath, kind: str) -> Path:
        return self.folder / name.parent / f"{name.stem}-{kind}.png"

    def _targets(self, query: Query) -> list[Path]:
        return [self._place(query.name, kind) for kind in KINDS] if self._pictures else []

    def _notes(self, queries: Sequence[Query]) -> list[str]:
        there = {path for path in self.folder.rglob("*") if path.is_file()}
        ours = {path for query in queries for path in self._targets(query)}
        ours |= {self.folder / COCO_FILE} if "coco" in self._formats else set()
        ours |= {self.folder / LEGEND_FILE} if self._pictures and len(self._classes) > 1 else set()
        notes = []
        if replaced := len(there & ours):
            notes.append(f"{self.folder}: {replaced} files of an earlier call are replaced")
        if others := len(there - ours):
            notes.append(f"{self.folder}: {others} files that this call does not write lie there already, and stay")
        return notes

    def _note(self, query: Query, result: Segmentation) -> None:
        """An image and, for each class that it shows, an annotation whose score is the mean probability on it."""
        height, width = result.mask.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": query.name.as_posix(), "width": width, "height": height})
        for value in range(1, len(self._classes) + 1):
            chosen = result.mask == value
            if not chosen.any():
                continue
            lengths = encode_mask(chosen)
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": value,
                    "segmentation": lengths,
                    "area": int(chosen.sum()),
                    "bbox": coco_mask.toBbox(lengths).tolist(),
                    "iscrowd": 0,
                    "score": round(float(result.probability[chosen].mean(dtype=np.float64)), 6),
                }
            )


def _mask_picture(result: Segmentation) -> Image.Image:
    if len(result.classes) == 1:
        return Image.fromarray(result.mask * np.uint8(255))
    picture = Image.fromarray(result.mask)
    # all 256 colours: Pillow writes a shorter palette with fewer bits a pixel, which some tools do not read
    picture.putpalette([0, 0, 0, *(channel for value in range(1, 256) for channel in colour(value))])
    return picture
