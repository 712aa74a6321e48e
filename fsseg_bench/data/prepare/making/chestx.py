"""Chest X-ray: the lungs of two collections that name their masks in two ways, and the two data sets made of them.

Rule: Shenzhen's masks end in ``_mask``, Montgomery's have the image's own name. Code that cuts ``_mask.png`` off every
name finds Shenzhen's 566 alone (PATNet, IFA, ABCDFSS); code that knows both finds 704 (DR-Adapter, SANSA, INSID3).
Images and masks are taken as they are.
"""

from __future__ import annotations

from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.files_of import by_stem

SHENZHEN, MONTGOMERY = "CHNCXR_", "MCUCXR_"
"""What the names of the two collections begin with."""
MASK = "_mask"
ONE = "chestx-566"
"""The data set of Shenzhen alone."""


def image_of_mask(stem: str) -> str | None:
    """The image's stem, of a mask's; None for a name of neither collection."""
    if stem.startswith(SHENZHEN) and stem.endswith(MASK):
        return stem.removesuffix(MASK)
    return stem if stem.startswith(MONTGOMERY) and not stem.endswith(MASK) else None


def make(making: Making) -> None:
    """Puts ``lung/images`` and ``lung/masks`` into the folder of the data set: ``chestx-704``, or ``chestx-566``."""
    home = making.dataset.name
    raw = making.root / "chestx" / "raw"
    images, masks = by_stem(raw / "CXR_png", ".png"), by_stem(raw / "masks", ".png")
    strange, alone, others = [], [], []
    found: set[str] = set()
    for stem, mask in masks.items():
        image = image_of_mask(stem)
        if image is None:
            strange.append(mask.name)
        elif image not in images:
            alone.append(mask.name)
        elif home == ONE and not image.startswith(SHENZHEN):
            others.append(image)
        else:
            found.add(image)
            making.link(images[image], f"{home}/lung/images/{image}.png")
            making.link(mask, f"{home}/lung/masks/{image}.png")
    for what, names in (
        ("images without a mask", sorted(images.keys() - found - set(others))),
        ("masks without an image", alone),
        ("masks with a name of neither collection", strange),
        ("pairs of Montgomery", others),
    ):
        if names:
            making.note(f"{what}, left out: {shown(names)}")
    if home != ONE:
        one = sum(name.startswith(SHENZHEN) for name in found)
        making.note(f"{one:,} pairs of Shenzhen and {len(found) - one:,} of Montgomery ({ONE} has Shenzhen's alone)")
