"""Labels drawn over an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_COLOURS = ((230, 60, 50), (40, 130, 230), (50, 170, 80), (240, 160, 30), (150, 80, 200))
_VOID_COLOUR = (128, 128, 128)
_BLEND = 0.55


def overlay(image: Pixels, labels: Pixels) -> Pixels:
    """``image`` (H, W, 3) with each label's colour laid over its pixels, void (255) in grey, 0 as it is.

    Args:
        image: RGB.
        labels: (H, W) label values.
    """
    out = image.astype(np.float32)
    for label in np.unique(labels):
        if label:
            colour = _VOID_COLOUR if label == 255 else _COLOURS[(int(label) - 1) % len(_COLOURS)]
            chosen = labels == label
            out[chosen] = (1 - _BLEND) * out[chosen] + _BLEND * np.asarray(colour, np.float32)
    return out.round().astype(np.uint8)
