"""What the models see of a source: images squashed to a square, masks with one value a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.source import Source

if TYPE_CHECKING:
    import torch


def load_image(source: Source, image_id: str, size: int) -> torch.Tensor:
    """(3, size, size) uint8, RGB: the image squashed to a square by Pillow's bilinear filter.

    Raises:
        UserError: the image is missing or cannot be decoded.
    """
    return squash_image(Image.fromarray(source.image(image_id)), size)


def support_mask(source: Source, image_id: str, classes: Sequence[int], way: int, size: int) -> UInt8:
    """(size, size) uint8: 1 where the way's class is, 255 where void or another way's class is, else 0.

    ``classes`` are the episode's N, ``way`` is 1 to N. Masks are squashed by Pillow's nearest.

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
    """An RGB image as (3, size, size) uint8, by Pillow's bilinear filter."""
    import torch  # reports read images and masks, too, and start without it

    return torch.from_numpy(square(image, size)).permute(2, 0, 1).contiguous()


def square(image: Image.Image, size: int) -> UInt8:
    """The same as an array (size, size, 3)."""
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR))


def squash(mask: UInt8, size: int) -> UInt8:
    """A mask (H, W) as (size, size), by Pillow's nearest: no value appears that was not there."""
    # Pillow's nearest takes the centre of each target pixel, as its bilinear does: masks stay aligned with images
    return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
