"""Deepglobe's land cover pictures as tiles with a binary mask a class, by the rule of PATNet's published script.

1. A picture ``<id>_sat.jpg`` and its ``<id>_mask.png`` are cut into 6 x 6 tiles: rows
   ``[int(i H / 6), int((i + 1) H / 6))``, columns likewise; 408 x 408 pixels of 2,448 x 2,448.
2. A tile is kept if its mask has more than one colour, and the rarest of them, black (unknown) included, covers more
   than 0.048 of the tile.
3. Of a kept tile, each class of which a pixel is there gives a pair: ``<class>/images/<id>_<row><column>.jpg`` and,
   with 255 where the class is and 0 elsewhere, ``<class>/masks/<id>_<row><column>.png``.

As there, tiles are encoded as JPEG (quality 95) once more: here by Pillow, there by OpenCV, so that their pixels differ
a little from anybody's, and the fingerprint of the data depends on the JPEG library of the machine. The counts that
others state for this rule contradict one another, and it is not known which pictures gave the data that PATNet
published: what is made here is not claimed to be them.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import read_image
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.errors import UserError

PICTURES = "deepglobe/train"
"""Where the pictures and their masks lie, under the data root."""
CLASSES = {"agriculture": 0b110, "urban": 0b011, "rangeland": 0b101, "forest": 0b010, "water": 0b001, "barren": 0b111}
"""Each class with its colour: one bit for red, green, blue, each 255 or 0. 000 is unknown."""
PARTS = 6
"""Tiles a side."""
LEAST_SHARE = 0.048
"""The rarest colour of a kept tile covers more than this share of it."""
STATED = "PATNet's paper 5,666; users of its script 9,174 and 9,175; the archive that its readme links is neither"
"""Tiles in all, as others count them."""
_COLOURS = 8
_QUALITY = 95
_AT_ONCE = 8


@dataclass
class Tile:
    """A kept tile."""

    name: str
    """``<id>_<row><column>``."""
    image: bytes
    """The JPEG file."""
    masks: dict[str, bytes] = field(default_factory=dict)
    """Class to its PNG file."""


def make(making: Making) -> None:
    """Writes the tiles of all pictures.

    Raises:
        UserError: no picture, one without a mask, or a mask of another size or with other colours; names the file.
    """
    folder = making.root / PICTURES
    pictures = sorted(folder.glob("*_sat.jpg"))
    tiles = pairs = 0
    with (
        ThreadPoolExecutor(_AT_ONCE) as pool,
        making.progress.meter("cutting pictures into tiles", len(pictures), unit="files") as meter,
    ):
        for start in range(0, len(pictures), _AT_ONCE):  # not all at once: their tiles wait in memory
            for some in pool.map(lambda path: list(cut(path)), pictures[start : start + _AT_ONCE]):
                tiles += len(some)
                for tile in some:
                    pairs += len(tile.masks)
                    _place(tile, making)
                meter.advance()
    cut_from = f"{len(pictures):,} pictures, {len(pictures) * PARTS**2:,} tiles"
    making.note(f"{cut_from}: {tiles:,} kept (others: {STATED}), {pairs:,} pairs (tile, class)")


def cut(path: Path) -> Iterator[Tile]:
    """The kept tiles of the picture ``<id>_sat.jpg``, row by row.

    Raises:
        UserError: as :func:`make`.
    """
    name = path.name.removesuffix("_sat.jpg")
    image = read_image(path)
    mask_path = path.with_name(f"{name}_mask.png")
    codes = colour_codes(read_image(mask_path), mask_path)
    if codes.shape != image.shape[:2]:
        raise UserError(f"{mask_path}: is {_size(codes)}, but {path.name} is {_size(image)}")
    for row, rows in enumerate(bounds(image.shape[0])):
        for column, columns in enumerate(bounds(image.shape[1])):
            part = codes[rows, columns]
            if not is_kept(np.bincount(part.ravel(), minlength=_COLOURS)):
                continue
            tile = Tile(f"{name}_{row}{column}", _encoded(image[rows, columns], "JPEG", quality=_QUALITY))
            for class_name, code in CLASSES.items():
                if (shown := part == code).any():
                    tile.masks[class_name] = _encoded(shown.astype(np.uint8) * 255, "PNG")
            yield tile


def bounds(length: int) -> list[slice]:
    """Where the tiles of a side of ``length`` pixels begin and end."""
    edges = [int(i * length / PARTS) for i in range(PARTS + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def is_kept(pixels: npt.NDArray[np.int64]) -> bool:
    """Whether a tile is kept, from its pixels of each of the eight colours (those without any among them)."""
    there = pixels[pixels > 0]
    return len(there) > 1 and bool(there.min() > LEAST_SHARE * there.sum())


def colour_codes(mask: UInt8, path: Path) -> UInt8:
    """(H, W) uint8 of (H, W, 3): the colour of each pixel as in :data:`CLASSES`.

    Raises:
        UserError: a channel is neither 0 nor 255.
    """
    if wrong := int(((mask != 0) & (mask != 255)).any(axis=2).sum()):
        raise UserError(f"{path}: {wrong:,} pixels have channels other than 0 and 255; take the mask as published")
    return (mask // 255) @ np.array([4, 2, 1], dtype=np.uint8)


def _place(tile: Tile, making: Making) -> None:
    first: Path | None = None
    for class_name, mask in tile.masks.items():
        name = f"deepglobe/{class_name}/images/{tile.name}.jpg"
        if first is None:
            making.write(name, tile.image)
            first = making.root / name
        else:
            making.link(first, name)  # the same tile; a link takes no room
        making.write(f"deepglobe/{class_name}/masks/{tile.name}.png", mask)


def _encoded(pixels: UInt8, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _size(pixels: UInt8) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
