"""Supports of one class: images with masks or boxes, from files or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.decode import image_size
from fsseg_bench.data.masks import read_binary_mask, read_labels
from fsseg_bench.engine.predict.upright import AnyImage, named, upright
from fsseg_bench.errors import UserError

AnyMask = str | Path | npt.NDArray[Any] | Sequence[float]
"""A mask file, values (H, W), or a box: x0, y0, x1, y1 in pixels from the upper left corner, x1 and y1 outside."""

_SHOWN = 5


class Support(NamedTuple):
    """An image that shows the class, and where."""

    image: UInt8
    """(H, W, 3), RGB."""
    mask: UInt8
    """(H, W): 1 on the object, 0 elsewhere, 255 void."""
    name: str
    """What messages call the mask."""


def read_supports(
    images: AnyImage | Iterable[AnyImage], masks: AnyMask | Iterable[AnyMask], label: int | None = None
) -> list[Support]:
    """The supports of a class.

    Args:
        images: one or several; files are turned as their EXIF orientation says.
        masks: one for each image, of the size of the upright image.
        label: the class's value in masks with several label values, where 0 is background and 255 void; images whose
            mask does not have it are left out. None: masks are binary, see
            :func:`fsseg_bench.data.masks.read_binary_mask`, and 255 is the object.

    Raises:
        UserError: no support, another number of masks than of images, a file is missing or unreadable, a mask is empty,
            not binary, or of another size, or a box lies outside its image.
    """
    pictures: list[AnyImage] = list([images] if _is_one_image(images) else images)  # type: ignore[list-item, arg-type]
    shapes: list[AnyMask] = list([masks] if _is_one_mask(masks) else masks)  # type: ignore[list-item, arg-type]
    if not pictures:
        raise UserError("no support is given: at least one image with its mask is needed (--support IMAGE MASK)")
    if len(pictures) != len(shapes):
        raise UserError(f"{len(pictures)} support images have {len(shapes)} masks; each image needs one")
    found = [_support(image, mask, label) for image, mask in zip(pictures, shapes, strict=True)]
    if label is None:
        return found
    showing = [support for support in found if (support.mask == 1).any()]
    if not showing:
        values = sorted({value for mask in shapes if not is_box(mask) for value in label_values(mask)})
        raise UserError(
            f"no support mask has the label value {label} (--class); beside 0 they have {_listed(values) or 'none'}"
        )
    return showing


def is_box(mask: Any) -> bool:
    """Whether a mask is given as four numbers."""
    if isinstance(mask, str | Path) or not hasattr(mask, "__len__"):
        return False
    return len(mask) == 4 and all(isinstance(value, Real) for value in mask)


def label_values(mask: AnyMask) -> list[int]:
    """The values of a mask beside 0, ascending."""
    values = read_labels(Path(mask)) if isinstance(mask, str | Path) else np.asarray(mask)
    return [int(value) for value in np.unique(values) if value]


def _is_one_image(images: Any) -> bool:
    return isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 3)


def _is_one_mask(masks: Any) -> bool:
    return isinstance(masks, str | Path) or is_box(masks) or (isinstance(masks, np.ndarray) and masks.ndim == 2)


def _support(image: AnyImage, mask: AnyMask, label: int | None) -> Support:
    pixels = upright(image)
    height, width = pixels.shape[:2]
    if is_box(mask):
        return Support(pixels, _box(mask, width, height, named(image)), f"the box {_numbers(mask)} in {named(image)}")
    name = str(mask) if isinstance(mask, str | Path) else f"the mask of {named(image)}"
    values = _binary(mask, name) if label is None else _chosen(mask, label, name)
    if values.shape != (height, width):
        raise _wrong_size(image, (width, height), name, (values.shape[1], values.shape[0]))
    if label is None and not values.any():
        raise UserError(f"{name}: the mask is empty (all pixels are 0); a support must show the object")
    return Support(pixels, values, name)


def _binary(mask: AnyMask, name: str) -> UInt8:
    """(H, W): 1 where the mask's only value is."""
    if not isinstance(mask, str | Path):
        values = _array(mask, name)
        if len(found := label_values(values)) > 1:
            raise _several(name, found)
        return np.asarray(values != 0, np.uint8)
    try:
        return read_binary_mask(Path(mask))
    except UserError as error:
        try:
            found = label_values(mask)
        except UserError:  # nothing that holds label values; the first message says what it is
            raise error from None
        raise (_several(name, found) if len(found) > 1 else error) from None


def _several(name: str, values: Sequence[int]) -> UserError:
    return UserError(
        f"{name}: the mask has the values {_listed(values)} beside 0; a binary mask has one. Where these are the label "
        "values of classes, choose with --class VALUE (label=VALUE in Python); soft edges of a drawing program must go"
    )


def _chosen(mask: AnyMask, label: int, name: str) -> UInt8:
    """(H, W): 1 where the label value is, 255 where void is."""
    values = read_labels(Path(mask)) if isinstance(mask, str | Path) else _array(mask, name)
    return np.where(values == label, np.uint8(1), np.where(values == VOID, np.uint8(VOID), np.uint8(0)))


def _array(mask: Any, name: str) -> npt.NDArray[Any]:
    values = np.asarray(mask)
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise UserError(
            f"{name}: is {values.dtype} {values.shape}; give a file, an array (H, W) of whole numbers or truth values, "
            "or a box of four numbers"
        )
    return values


def _box(box: Any, width: int, height: int, image: str) -> UInt8:
    """(H, W): 1 inside the box, whose edges are rounded to whole pixels."""
    if not all(np.isfinite(box)):
        raise UserError(f"{image}: the box {_numbers(box)} is not four numbers")
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise UserError(
            f"{image}: the box {_numbers(box)} does not lie in the image of {width} x {height} pixels; a box is X0 Y0 "
            "X1 Y1: its left, upper, right and lower edge in pixels (not its width and height)"
        )
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def _wrong_size(image: AnyImage, size: tuple[int, int], name: str, found: tuple[int, int]) -> UserError:
    message = f"{name} is {found[0]} x {found[1]} pixels and its image {named(image)} {size[0]} x {size[1]}"
    if isinstance(image, str | Path) and image_size(Path(image).expanduser()) == found:
        message += " upright, as its EXIF orientation says; the mask fits the pixels as they are stored: turn it too"
    return UserError(f"{message}; a mask must have the size of its image")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")


def _numbers(box: Any) -> str:
    return " ".join(f"{float(value):g}" for value in box)
