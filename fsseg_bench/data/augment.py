"""Random changes of training images, the same to an image and to its mask."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as v2

from fsseg_bench.data.loading import squash, squash_image
from fsseg_bench.data.source import VOID, UInt8
from fsseg_bench.protocol.streams import below, stream

Augmentation = Literal["none", "flip", "canet", "canet-both", "resized-crop"]
Role = Literal["support", "query"]

_LARGEST = 1.5  # CANet's code enlarges by U(1, 1.5) before it crops
_TRIES = 10
_LEAST_AREA = 0.5  # RPMMs' code: RandomResizedCrop(scale=(0.5, 1.0)), torchvision's ratios 3/4 to 4/3
_RATIO = 4 / 3


class Pair(NamedTuple):
    """An image and its mask at the input size."""

    image: Tensor
    """(3, size, size) uint8, RGB."""
    mask: Tensor
    """(size, size) uint8."""


class View(NamedTuple):
    """An image and several masks of it at the input size."""

    image: Tensor
    """(3, size, size) uint8, RGB."""
    masks: Tensor
    """(L, size, size) uint8."""


def augment(name: Augmentation, role: Role, image: UInt8, mask: UInt8, size: int, seed: int) -> Pair:
    """One mask's form of :func:`augment_all`; ``mask`` is (H, W)."""
    view = augment_all(name, role, image, mask[None], size, seed)
    return Pair(view.image, view.masks[0])


def augment_all(name: Augmentation, role: Role, image: UInt8, masks: UInt8, size: int, seed: int) -> View:
    """``image`` and its ``masks`` squashed to the input size after the same random change ``name``.

    ``none``: no change. ``flip``: a horizontal flip with probability 1/2 (PANet). ``canet``: a support is squashed
    to a side of int(U(1, 1.5) * size), flipped with probability 1/2 and cropped to ``size`` at random, a query is
    only squashed (CANet's code); when the crop shows nothing of a class in the first mask all is drawn again, and
    after ten tries the support is only squashed. ``canet-both``: queries as supports. ``resized-crop``: a rectangle
    of half to all of the image's area, of a ratio of sides of 3/4 to 4/3, is squashed, and flipped with probability
    1/2 (RPMMs' code, which does not ask whether the object survives).

    The squash is the evaluation's, and everything random comes from ``seed``: no global generator is used.

    Args:
        name: the change.
        role: whether the image is a support or the query.
        image: (H, W, 3) uint8, RGB.
        masks: (L, H, W) uint8; 0 is background, 255 void, other values are classes.
        size: side of the input in pixels.
        seed: in [0, 2**63).
    """
    rng = stream("augment", seed)
    if name == "flip":
        return _flipped(_squashed(image, masks, size), rng)
    if name == "resized-crop":
        top, left, height, width = _rectangle(image.shape[0], image.shape[1], rng)
        window = slice(top, top + height), slice(left, left + width)
        return _flipped(_squashed(image[window], masks[:, *window], size), rng)
    if name == "canet-both" or (name == "canet" and role == "support"):
        for _ in range(_TRIES):
            view = _cropped(image, masks, size, rng)
            if bool(((view.masks[0] > 0) & (view.masks[0] < VOID)).any()):
                return view
    return _squashed(image, masks, size)


def _squashed(image: UInt8, masks: UInt8, side: int) -> View:
    squashed = np.stack([squash(np.ascontiguousarray(mask), side) for mask in masks])
    return View(squash_image(Image.fromarray(np.ascontiguousarray(image)), side), torch.from_numpy(squashed))


def _flipped(view: View, rng: np.random.RandomState) -> View:
    if below(rng, 2) == 0:
        return view
    image, masks = tv_tensors.Image(view.image), tv_tensors.Mask(view.masks)
    return _plain(v2.horizontal_flip(image), v2.horizontal_flip(masks))


def _cropped(image: UInt8, masks: UInt8, size: int, rng: np.random.RandomState) -> View:
    """CANet's change: enlarge, flip, crop."""
    side = int((1.0 + (_LARGEST - 1.0) * rng.random_sample()) * size)
    view = _flipped(_squashed(image, masks, side), rng)
    top, left = below(rng, side - size + 1), below(rng, side - size + 1)
    large, marked = tv_tensors.Image(view.image), tv_tensors.Mask(view.masks)
    return _plain(v2.crop(large, top, left, size, size), v2.crop(marked, top, left, size, size))


def _rectangle(height: int, width: int, rng: np.random.RandomState) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop; the whole image when none fits in ten tries."""
    for _ in range(_TRIES):
        area = height * width * (_LEAST_AREA + (1 - _LEAST_AREA) * rng.random_sample())
        ratio = math.exp((2 * rng.random_sample() - 1) * math.log(_RATIO))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return below(rng, height - h + 1), below(rng, width - w + 1), h, w
    return 0, 0, height, width


def _plain(image: Tensor, masks: Tensor) -> View:
    """Ordinary tensors with memory of their own."""
    return View(image.as_subclass(Tensor).contiguous(), masks.as_subclass(Tensor).contiguous())
