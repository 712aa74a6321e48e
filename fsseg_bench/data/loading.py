"""What the models see of a source: images brought to a square, masks with one value a pixel.

Where a function takes the square's ``size``, a :class:`fsseg_bench.protocol.side.Side` says how; a number squashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.source import Source
from fsseg_bench.protocol.side import Side

if TYPE_CHECKING:
    import torch


def load_image(source: Source, image_id: str, size: int) -> torch.Tensor:
    """(3, size, size) uint8, RGB: the image brought to a square by Pillow's bilinear filter.

    Raises:
        UserError: the image is missing or cannot be decoded.
    """
    return squash_image(Image.fromarray(source.image(image_id)), size)


def support_mask(source: Source, image_id: str, classes: Sequence[int], way: int, size: int) -> UInt8:
    """(size, size) uint8: 1 where the way's class is, 255 where void or another way's class is, else 0.

    ``classes`` are the episode's N, ``way`` is 1 to N. Masks are resized by Pillow's nearest.

    Raises:
        UserError: the mask is missing or wrong.
        ValueError: ``way`` is not in 1..N.
    """
    if not 1 <= way <= len(classes):
        raise ValueError(f"way {way} of {len(classes)}")
    return squash(one_way(source.class_masks(image_id, classes), way), size)


def query_label(source: Source, image_id: str, classes: Sequence[int], size: int | None) -> UInt8:
    """(size, size) uint8, native (H, W) without ``size``: i where class i of 1..N is, 255 void, else 0.

    Where classes overlap (COCO) the later way is kept; a way's pixel wins over void.

    Raises:
        UserError: the mask is missing or wrong.
    """
    label = all_ways(source.class_masks(image_id, classes))
    return label if size is None else squash(label, size)


def one_way(masks: UInt8, way: int) -> UInt8:
    """Class masks (N, H, W) as the support mask (H, W) of ``way`` (from 1); see :func:`support_mask`."""
    mask = np.where(masks.any(axis=0), np.uint8(VOID), np.uint8(0))
    mask[masks[way - 1] == 1] = 1
    return mask


def all_ways(masks: UInt8) -> UInt8:
    """Class masks (N, H, W) as the query label (H, W); see :func:`query_label`."""
    label = np.where((masks == VOID).any(axis=0), np.uint8(VOID), np.uint8(0))  # void first: a class wins over it
    for way, mask in enumerate(masks, start=1):
        label[mask == 1] = way
    return label


def training_masks(source: Source, image_id: str, classes: Sequence[int], ignore: Sequence[int]) -> UInt8:
    """(len(classes), H, W) uint8 at native size, as ``Source.class_masks``, with other classes made void.

    Pixels of the classes ``ignore`` (their crowds too) become 255 in every mask, unless they belong to one of
    ``classes``.

    Raises:
        UserError: the mask is missing or wrong.
    """
    masks = source.class_masks(image_id, (*classes, *ignore))
    wanted, unwanted = masks[: len(classes)], masks[len(classes) :]
    hidden = unwanted.any(axis=0) & ~(wanted == 1).any(axis=0)
    wanted[:, hidden] = VOID
    return wanted


def squash_image(image: Image.Image, size: int) -> torch.Tensor:
    """An RGB image as (3, size, size) uint8, by Pillow's bilinear filter; padded where ``size`` is such a side."""
    import torch  # reports read images and masks, too, and start without it

    return torch.from_numpy(square(image, size)).permute(2, 0, 1).contiguous()


def square(image: Image.Image, size: int) -> UInt8:
    """The same as an array (size, size, 3). Padding is black, as in the code of PFENet and of those that follow it."""
    part = Side.of(size).part(image.height, image.width)
    inside = np.array(image.resize((part.width, part.height), Image.Resampling.BILINEAR))
    return _filled(inside, size, 0)


def squash(mask: UInt8, size: int) -> UInt8:
    """A mask (H, W) as (size, size), by Pillow's nearest: no value appears that was not there, but void as padding."""
    # Pillow's nearest takes the centre of each target pixel, as its bilinear does: masks stay aligned with images
    part = Side.of(size).part(*mask.shape)
    inside = np.array(Image.fromarray(mask).resize((part.width, part.height), Image.Resampling.NEAREST))
    return _filled(inside, size, VOID)


def _filled(inside: UInt8, size: int, value: int) -> UInt8:
    """``inside`` in the upper left corner of a square of ``value``."""
    height, width, *channels = inside.shape
    if (height, width) == (size, size):
        return inside
    whole = np.full((size, size, *channels), value, dtype=np.uint8)
    whole[:height, :width] = inside
    return whole
