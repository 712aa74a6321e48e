"""Annotations in COCO's form, written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fsseg_bench.data.sources.coco import CocoSource
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, run_lengths, save_image, write_instances


def box(category: int, x0: int, y0: int, x1: int, y1: int, **more: Any) -> dict[str, Any]:
    """An annotation with a rectangle, columns x0 to x1 and rows y0 to y1, ends excluded."""
    return {"category_id": category, "iscrowd": 0, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]], **more}


def crowd(category: int, region: np.ndarray) -> dict[str, Any]:
    """A crowd region where ``region`` is not 0."""
    rle = {"size": list(region.shape), "counts": run_lengths(region.astype(np.uint8))}
    return {"category_id": category, "iscrowd": 1, "segmentation": rle}


def one_image(root: Path, *annotations: dict[str, Any], image: dict[str, Any] | None = None) -> CocoSource:
    """A data set of one image ``val2017/a`` with these annotations."""
    save_image(root / "val2017/a.jpg", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    entry = image or {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    numbered = [{"id": 100 + i, "image_id": 7, **a} for i, a in enumerate(annotations)]
    write_instances(root, "val2017", [entry], numbered)
    return CocoSource(root, CLASSES, 2017)
