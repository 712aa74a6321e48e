"""The thirteen convolutions of VGG-16 by block and place, and their places in ``features`` here (as in torchvision)."""

from __future__ import annotations

from collections.abc import Callable

_CONVOLUTIONS = (2, 2, 3, 3, 3)


def vgg_names(official: Callable[[int, int], str]) -> dict[str, str]:
    """``official`` names the convolution of a block at a place in it, both from 0; no batch-norms."""
    names, index = {}, 0
    for block, count in enumerate(_CONVOLUTIONS):
        for place in range(count):
            names[official(block, place)] = f"backbone.features.{index}"
            index += 2  # a ReLU follows each
        index += 1  # and a pool each block
    return names
