"""The convolutions of VGG-16 by block and place, and their places in ``features`` here (as in torchvision)."""

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


def vgg_layers() -> dict[str, str]:
    """A VGG-16 with batch-norms, cut into ``layer0`` to ``layer4``: where each begins among the ``features`` here."""
    begins = (0, 7, 14, 24, 34)  # a pool more each but in the first
    ends = (*(begin - 1 for begin in begins[1:]), begins[-1] + 9)
    return {
        f"layer{layer}.{place}": f"backbone.features.{begin + place}"
        for layer, (begin, end) in enumerate(zip(begins, ends, strict=True))
        for place in range(end - begin)
    }
