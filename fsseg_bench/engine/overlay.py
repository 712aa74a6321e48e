"""Labels drawn over an image."""

from __future__ import annotations

import numpy as np

from fsseg_bench.conventions import VOID, Bool, UInt8

_COLOURS = ((230, 60, 50), (40, 130, 230), (50, 170, 80), (240, 160, 30), (150, 80, 200))
_VOID_COLOUR = (128, 128, 128)
_OUTLINE_COLOUR = 255
_BLEND = 0.55
_OUTLINE = 160  # the image's shorter side in outline widths


def colour(label: int) -> tuple[int, int, int]:
    """The colour (RGB) of a class's label value, from 1, or of void."""
    return _VOID_COLOUR if label == VOID else _COLOURS[(label - 1) % len(_COLOURS)]


def overlay(image: UInt8, labels: UInt8) -> UInt8:
    """``image`` (H, W, 3) with each class in a colour of its own within a white outline, and void (255) in grey.

    Args:
        image: RGB.
        labels: (H, W) label values; 0 leaves the image as it is.
    """
    out = image.copy()
    width = max(1, min(labels.shape) // _OUTLINE)
    for label in np.unique(labels[labels > 0]):
        chosen = labels == label
        blended = (1 - _BLEND) * image[chosen].astype(np.float32) + _BLEND * np.asarray(colour(int(label)), np.float32)
        out[chosen] = blended.round().astype(np.uint8)
        if label != VOID:
            out[_edge(chosen, width)] = _OUTLINE_COLOUR
    return out


def _edge(chosen: Bool, width: int) -> Bool:
    """The pixels of a region within ``width`` of its border; the image's border is none."""
    inner = chosen
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return chosen & ~inner
