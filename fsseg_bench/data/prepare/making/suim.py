"""SUIM: one folder a class, of its coloured masks; training and test part together.

Rule: a channel of a mask counts as 0 below 128, else as 255. Of the eight colours seven are classes; black is water. An
image is in the folder of a class when a pixel shows it. A mask of another size than its image (37 of the training
part, says fansuregrin's list) is resized to it, each pixel from the one at ``floor(position * old / new)``: the code of
the papers stretches both to the input size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import image_size, opened, read_image
from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.files_of import by_stem

CODES = {"FV": 6, "HD": 1, "PF": 2, "RI": 5, "RO": 4, "SR": 7, "WR": 3}
"""Class to its colour: red counts 4, green 2, blue 1."""
THRESHOLD = 128
PARTS = ("train_val", "TEST")
_IMAGES, _MASKS = (".jpg", ".jpeg", ".png"), (".bmp", ".png")

Mask = npt.NDArray[np.bool_]


class Labelled(NamedTuple):
    """An image and what it shows of one class."""

    image: Path
    class_name: str
    mask: Mask


def make(making: Making) -> None:
    """Puts ``<class>/images`` and ``<class>/masks`` beside ``raw``.

    ``raw`` holds the authors' layout, ``{train_val,TEST}/{images,masks}``, or that of the collection merged by others,
    ``images`` and ``masks/<class>``.
    """
    home = making.dataset.name
    raw = making.root / home / "raw"
    stretched: dict[str, None] = {}
    for image, name, mask in merged(raw, making) if (raw / "masks").is_dir() else coloured(raw, making):
        if not mask.any():
            continue
        size = image_size(image)
        if size != mask.shape[::-1]:
            stretched[f"{image.name} {size[0]} x {size[1]}, mask {mask.shape[1]} x {mask.shape[0]}"] = None
        making.link(image, f"{home}/{name}/images/{image.stem}{image.suffix.lower()}")
        making.write(f"{home}/{name}/masks/{image.stem}.png", _png(resized(mask, size)))
    if stretched:
        making.note(f"masks of another size than their image, resized to it: {shown(list(stretched))}")


def codes_of(rgb: UInt8) -> tuple[UInt8, bool]:
    """(H, W) 0 to 7 of a coloured mask (H, W, 3), and whether each channel is 0 or 255 everywhere."""
    bits = (rgb >= THRESHOLD).astype(np.uint8)
    codes: UInt8 = 4 * bits[..., 0] + 2 * bits[..., 1] + bits[..., 2]
    return codes, bool(((rgb == 0) | (rgb == 255)).all())


def resized(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask (H, W) in ``size`` (W, H); the nearest pixel by the floor rule."""
    width, height = size
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    found: Mask = mask[rows[:, None], columns]
    return found


def coloured(raw: Path, making: Making) -> Iterator[Labelled]:
    """The authors' layout."""
    strange: list[str] = []
    for part in PARTS:
        images, masks = by_stem(raw / part / "images", *_IMAGES), by_stem(raw / part / "masks", *_MASKS)
        for stem in sorted(images.keys() & masks.keys()):
            codes, plain = codes_of(read_image(masks[stem]))
            if not plain:
                strange.append(masks[stem].name)
            yield from (Labelled(images[stem], name, codes == code) for name, code in CODES.items())
        _left_out(f"{part}: images without a mask", images.keys() - masks.keys(), making)
        _left_out(f"{part}: masks without an image", masks.keys() - images.keys(), making)
    if strange:
        making.note(f"masks with other values than 0 and 255, parted at {THRESHOLD}: {shown(strange)}")


def merged(raw: Path, making: Making) -> Iterator[Labelled]:
    """The layout with a grey mask an image and class."""
    images = by_stem(raw / "images", *_IMAGES)
    for name in CODES:
        masks = by_stem(raw / "masks" / name, *_MASKS)
        for stem in sorted(images.keys() & masks.keys()):
            with opened(masks[stem], "mask") as file:
                yield Labelled(images[stem], name, np.asarray(file.convert("L")) >= THRESHOLD)
        _left_out(f"{name}: masks without an image", masks.keys() - images.keys(), making)


def _left_out(what: str, names: set[str], making: Making) -> None:
    if names:
        making.note(f"{what}, left out: {shown(sorted(names))}")


def _png(mask: Mask) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()
