"""One's own images, as a user may have them: one folder a class, generated into a test's folder.

The scenes are those of :mod:`tests.support.datasets`: each class folder shows its boxes of 16 x 14 pixels (224) on
images of 40 x 30 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.datasets import CLASSES, HEIGHT, WIDTH, save_image, scenes


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
