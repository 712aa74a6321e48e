"""Random changes of training images, the same to an image and to its mask."""

from __future__ import annotations

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

Augmentation = Literal["none", "flip", "canet", "canet-both"]
Role = Literal["support", "query"]

_LARGEST = 1.5  # CANet's code enlarges by U(1, 1.5) before it crops
_TRIES = 10


class Pair(NamedTuple):
    """An image and its mask at the input size."""

    image: Tensor
    """(3, size, size) uint8, RGB."""
    mask: Tensor
    """(size, size) uint8."""


def augment(name: Augmentation, role: Role, image: UInt8, mask: UInt8, size: int, seed: int) -> Pair:
    """``image`` and ``mask`` squashed to the input size after the random change ``name``.

    ``none``: no change. ``flip``: a horizontal flip with probability 1/2 (PANet). ``canet``: a support is squashed
    to a side of int(U(1, 1.5) * size), flipped with probability 1/2 and cropped to ``size`` at random, a query is
    only squashed (CANet's code); when the crop shows nothing of a class all is drawn again, and after ten tries the
    support is only squashed. ``canet-both``: queries as supports.

    The squash is the evaluation's, and everything random comes from ``seed``: no global generator is used.

    Args:
        name: the change.
        role: whether the image is a support or the query.
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8; 0 is background, 255 void, other values are classes.
        size: side of the input in pixels.
        seed: in [0, 2**63).
    """
    rng = stream("augment", seed)
    if name == "flip":
        return _flipped(_squashed(image, mask, size), rng)
    if name == "canet-both" or (name == "canet" and role == "support"):
        for _ in range(_TRIES):
            pair = _cropped(image, mask, size, rng)
            if bool(((pair.mask > 0) & (pair.mask < VOID)).any()):
                return pair
    return _squashed(image, mask, size)


def _squashed(image: UInt8, mask: UInt8, side: int) -> Pair:
    return Pair(squash_image(Image.fromarray(image), side), torch.from_numpy(squash(mask, side)))


def _flipped(pair: Pair, rng: np.random.RandomState) -> Pair:
    if below(rng, 2) == 0:
        return pair
    image, mask = tv_tensors.Image(pair.image), tv_tensors.Mask(pair.mask)
    return _plain(v2.horizontal_flip(image), v2.horizontal_flip(mask))


def _cropped(image: UInt8, mask: UInt8, size: int, rng: np.random.RandomState) -> Pair:
    """CANet's change: enlarge, flip, crop."""
    side = int((1.0 + (_LARGEST - 1.0) * rng.random_sample()) * size)
    pair = _flipped(_squashed(image, mask, side), rng)
    top, left = below(rng, side - size + 1), below(rng, side - size + 1)
    large, marked = tv_tensors.Image(pair.image), tv_tensors.Mask(pair.mask)
    return _plain(v2.crop(large, top, left, size, size), v2.crop(marked, top, left, size, size))


def _plain(image: Tensor, mask: Tensor) -> Pair:
    """Ordinary tensors with memory of their own."""
    return Pair(image.as_subclass(Tensor).contiguous(), mask.as_subclass(Tensor).contiguous())
