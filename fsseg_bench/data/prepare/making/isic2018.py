"""ISIC 2018, task 1: one folder a diagnosis.

Rule: the archives do not tell the diagnoses of task 1's images; the list of each class in the package does. Images and
masks are taken as they are, at the size that they have: some authors first shrink the images to 512 x 512.
"""

from __future__ import annotations

from fsseg_bench.data.decode import read_text
from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.files_of import by_stem, needed
from fsseg_bench.paths import folder
from fsseg_bench.protocol.load import load_protocol

IMAGES, MASKS = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
MASK = "_segmentation"
"""What a mask's name has behind its image's."""


def make(making: Making) -> None:
    """Puts ``<class>/images`` and ``<class>/masks`` beside ``raw``."""
    home = making.dataset.name
    raw = making.root / home / "raw"
    images, masks = by_stem(raw / IMAGES, ".jpg"), by_stem(raw / MASKS, ".png")
    rest = set(images)
    for name in load_protocol(home).classes:
        for image in images_of(name):
            making.link(
                needed(images, image, raw / IMAGES, f"image, and it shows {name}"), f"{home}/{name}/images/{image}.jpg"
            )
            making.link(needed(masks, image + MASK, raw / MASKS, "mask"), f"{home}/{name}/masks/{image}.png")
            rest.discard(image)
    if rest:
        making.note(f"images without a class, left out: {shown(sorted(rest))}")


def images_of(name: str) -> list[str]:
    """The images of a class, in the order of the published table."""
    return read_text(folder("protocols") / "isic2018" / f"{name}.txt", "list of images").split()
