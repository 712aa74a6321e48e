"""Random changes of training images, the same to an image and to its mask."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsseg_bench.choices import Choices
from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.loading import squash, squash_image
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.side import Side
from fsseg_bench.protocol.streams import below, stream

Role = Literal["support", "query"]

_LARGEST = 1.5  # CANet's code enlarges by U(1, 1.5) before it crops
_TRIES = 10
_LEAST_AREA = 0.5  # RPMMs' code: RandomResizedCrop(scale=(0.5, 1.0)), torchvision's ratios 3/4 to 4/3
_RATIO = 4 / 3


class View(NamedTuple):
    """An image and several masks of it at the input size."""

    image: Tensor
    """(3, size, size) uint8, RGB."""
    masks: Tensor
    """(L, size, size) uint8."""


class Augmentation(Protocol):
    """One random change of a training image and its masks."""

    def __call__(self, role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
        """The image and its masks, changed alike, at the input size; everything random comes from ``rng``.

        Args:
            role: whether the image is a support or the query.
            image: (H, W, 3) uint8, RGB.
            masks: (L, H, W) uint8, L >= 1; 0 is background, 255 void, other values are classes. The first is the
                episode's.
            size: side of the input in pixels, a :class:`fsseg_bench.protocol.side.Side`: what resizes an image by
                :func:`fsseg_bench.data.loading.squash_image` and :func:`fsseg_bench.data.loading.squash`, or by
                another augmentation, pads where the protocol does.
            rng: of this image in this episode alone.
        """
        ...


AUGMENTATIONS: Choices[Augmentation] = Choices(
    "recipe.augment", former={"canet": "enlarged-crop-supports", "canet-both": "enlarged-crop"}
)
"""What ``recipe.augment`` can name; ``@AUGMENTATIONS.add("NAME")`` above an :class:`Augmentation` adds one."""


_SQUASHING: dict[str, tuple[Role, ...]] = {
    "none": ("support", "query"),
    "flip": ("support", "query"),
    "enlarged-crop-supports": ("query",),
}


def squashed_before(name: str, role: Role, side: Side) -> Side | None:
    """The side that an image of this role may have before the augmentation; None: it needs the image as it is.

    That is where the augmentation squashes it before anything else: it then makes the same of an image that is
    squashed already. A padded one would be padded again.
    """
    return side if role in _SQUASHING.get(name, ()) and not side.pads else None


def augment(name: str, role: Role, image: UInt8, masks: UInt8, size: int, seed: int) -> View:
    """What the augmentation ``name`` makes of an image and its masks (see :class:`Augmentation`).

    The generator is made of ``seed``, in [0, 2**63): no global one is used, and a resumed training sees the same.

    Raises:
        UserError: no augmentation has the name, or what it returned is no view of the input size.
    """
    view = AUGMENTATIONS.find(name).call(role, image, masks, Side.of(size), stream("augment", seed))
    wanted = ((3, size, size), (len(masks), size, size))
    if (view.image.shape, view.masks.shape) != wanted or {part.dtype for part in view} != {torch.uint8}:
        found = " and ".join(f"{tuple(part.shape)} {part.dtype}" for part in view)
        raise UserError(f"recipe.augment={name} returned {found}; wanted are {wanted[0]} and {wanted[1]}, both uint8")
    return view


@AUGMENTATIONS.add("none")
def squashed(role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """No change: supports and query are squashed to the input size as in the evaluation."""
    return _squashed(image, masks, size)


@AUGMENTATIONS.add("flip")
def flip(role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """A horizontal flip with probability 1/2, of supports and query (PANet)."""
    return _flipped(_squashed(image, masks, size), rng, _width(image, size))


@AUGMENTATIONS.add("enlarged-crop")
def enlarged_crop(role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """Supports and query are squashed to a side of int(U(1, 1.5) * size), flipped with probability 1/2, and cropped.

    When the crop shows nothing of a class in the first mask all is drawn again; after ten tries the image is only
    squashed.
    """
    for _ in range(_TRIES):
        view = _cropped(image, masks, size, rng)
        if bool(((view.masks[0] > 0) & (view.masks[0] < VOID)).any()):
            return view
    return _squashed(image, masks, size)


@AUGMENTATIONS.add("enlarged-crop-supports")
def enlarged_crop_supports(role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """``enlarged-crop`` of the supports; the query is only squashed (CANet's code)."""
    return (enlarged_crop if role == "support" else squashed)(role, image, masks, size, rng)


@AUGMENTATIONS.add("resized-crop")
def resized_crop(role: Role, image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """A rectangle of half to all of the image's area, of a ratio of sides of 3/4 to 4/3, squashed and flipped.

    Of supports and query alike (RPMMs' code, which does not ask whether the object survives).
    """
    top, left, height, width = _rectangle(image.shape[0], image.shape[1], rng)
    window = slice(top, top + height), slice(left, left + width)
    return _flipped(_squashed(image[window], masks[:, *window], size), rng, _width(image[window], size))


def _squashed(image: UInt8, masks: UInt8, side: int) -> View:
    squashed = np.stack([squash(np.ascontiguousarray(mask), side) for mask in masks])
    return View(squash_image(Image.fromarray(np.ascontiguousarray(image)), side), torch.from_numpy(squashed))


def _width(image: UInt8, side: int) -> int:
    """Columns of the square that the image fills, from the left; the others are padding."""
    return Side.of(side).part(image.shape[0], image.shape[1]).width


def _flipped(view: View, rng: np.random.RandomState, width: int) -> View:
    """Flipped with probability 1/2, but for the padding behind ``width`` columns."""
    if below(rng, 2) == 0:
        return view
    return View(*(torch.cat([part[..., :width].flip(-1), part[..., width:]], dim=-1) for part in view))


def _cropped(image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """Enlarge, flip, crop."""
    side = Side(int((1.0 + (_LARGEST - 1.0) * rng.random_sample()) * size), Side.of(size).multiple)
    view = _flipped(_squashed(image, masks, side), rng, _width(image, side))
    top, left = below(rng, side - size + 1), below(rng, side - size + 1)
    window = slice(None), slice(top, top + size), slice(left, left + size)
    return View(view.image[window].contiguous(), view.masks[window].contiguous())


def _rectangle(height: int, width: int, rng: np.random.RandomState) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop; the whole image when none fits in ten tries."""
    for _ in range(_TRIES):
        area = height * width * (_LEAST_AREA + (1 - _LEAST_AREA) * rng.random_sample())
        ratio = math.exp((2 * rng.random_sample() - 1) * math.log(_RATIO))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return below(rng, height - h + 1), below(rng, width - w + 1), h, w
    return 0, 0, height, width
