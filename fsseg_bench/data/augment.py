"""Random changes of training images, the same to an image and to its mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from fsseg_bench.data.loading import squash, squash_image
from fsseg_bench.data.source import UInt8

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

    ``flip``: a horizontal flip with probability 1/2 (PANet). ``canet``: supports are squashed to a side of
    int(U(1, 1.5) * size), flipped with probability 1/2 and cropped to ``size`` at random, queries only squashed
    (CANet's code); a crop that loses the class is drawn again, and after ten tries the image is only squashed.
    ``canet-both``: queries as supports.

    Args:
        name: the change.
        role: whether the image is a support or the query.
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8; a class has values 1 to 254.
        size: side of the input in pixels.
        seed: decides everything random, in [0, 2**63).
    """
    cropped = name == "canet-both" or (name == "canet" and role == "support")
    if not cropped and name != "flip":
        return _squashed(image, mask, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cropped:
            return _crop(image, mask, size)
        return _apply(v2.RandomHorizontalFlip(0.5), _squashed(image, mask, size))


def _crop(image: UInt8, mask: UInt8, size: int) -> Pair:
    change = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.RandomCrop(size)])
    empty = not _shows_class(torch.from_numpy(mask))
    for _ in range(_TRIES):
        side = int((1 + (_LARGEST - 1) * torch.rand(()).item()) * size)
        pair = _apply(change, _squashed(image, mask, side))
        if empty or _shows_class(pair.mask):
            return pair
    return _squashed(image, mask, size)


def _apply(change: Callable[..., tuple[Tensor, Tensor]], pair: Pair) -> Pair:
    image, mask = change(tv_tensors.Image(pair.image), tv_tensors.Mask(pair.mask))
    return Pair(image.as_subclass(Tensor).contiguous(), mask.as_subclass(Tensor).contiguous())


def _squashed(image: UInt8, mask: UInt8, side: int) -> Pair:
    return Pair(squash_image(Image.fromarray(image), side), torch.from_numpy(squash(mask, side)))


def _shows_class(mask: Tensor) -> bool:
    return bool(((mask > 0) & (mask < 255)).any())
