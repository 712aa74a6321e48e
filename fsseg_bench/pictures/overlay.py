"""Labels, and predictions beside the truth, drawn over an image so that they show on any colour.

Each region has a fill that lets the image through, a double outline (white within black) and, where it is an error, a
hatch of its own. Colours are Okabe and Ito's, which colour-blind readers tell apart; outline and hatch say the same
without any colour.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from fsseg_bench.conventions import VOID, Bool, UInt8

_BLUE, _VERMILLION, _YELLOW = (0, 114, 178), (213, 94, 0), (240, 228, 66)
_CLASSES = (_BLUE, (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), _VERMILLION, _YELLOW)
_GREY, _WHITE, _BLACK = (128, 128, 128), (255, 255, 255), (0, 0, 0)
_FILL = 115  # of 255
_SOLID = 255
_LINES = 128  # the picture's side in line widths
_PERIOD = 8  # of a hatch, in line widths

Hatch = Literal["", "/", "\\", "x", "."]


class Kind(NamedTuple):
    """What the pixels of a region are."""

    words: str
    """For a legend."""
    hatch: Hatch
    colour: tuple[int, int, int] | None
    """None: that of the class."""


FOUND = Kind("found", "", _BLUE)
FALSE = Kind("false: background taken for the class", "/", _VERMILLION)
MISSED = Kind("missed: the class taken for background", "\\", _YELLOW)
FOUND_CLASS = Kind("found, in the colour of the class", "", None)
FALSE_CLASS = Kind("false: background taken for the class", "/", None)
MISSED_CLASS = Kind("missed: the class taken for background", "\\", None)
CONFUSED = Kind("one class taken for another, in the colour of the one predicted", "x", None)
NOT_COUNTED = Kind("void: counts nowhere", ".", _GREY)


def kinds(ways: int) -> tuple[Kind, ...]:
    """What :func:`judged` draws for episodes of so many ways."""
    if ways == 1:
        return FOUND, FALSE, MISSED, NOT_COUNTED
    return FOUND_CLASS, FALSE_CLASS, MISSED_CLASS, CONFUSED, NOT_COUNTED


def colour(label: int) -> tuple[int, int, int]:
    """The colour (RGB) of a class's label value, from 1, or of void."""
    return _GREY if label == VOID else _CLASSES[(label - 1) % len(_CLASSES)]


def overlay(image: UInt8, labels: UInt8) -> UInt8:
    """``image`` (H, W, 3) with each class in a colour of its own, and void (255) in dotted grey.

    Args:
        image: RGB.
        labels: (H, W) label values; 0 leaves the image as it is.
    """
    return over(image, labelled(labels))


def labelled(labels: UInt8) -> UInt8:
    """The layer (H, W, 4) of :func:`overlay`: RGBA, to be laid over an image."""
    layer = np.zeros((*labels.shape, 4), np.uint8)
    for label in np.unique(labels[labels > 0]).tolist():
        _paint(layer, labels == label, NOT_COUNTED.hatch if label == VOID else "", colour(label))
    return layer


def judged(prediction: UInt8, truth: UInt8, ways: int) -> UInt8:
    """The layer (H, W, 4), RGBA, of a prediction: what is found, false, missed and, of several ways, confused.

    Args:
        prediction: (H, W) labels in 0..N.
        truth: (H, W) labels in 0..N; 255 is void, where nothing is counted.
        ways: N; one way has a colour for each kind, several have one for each class.
    """
    layer = np.zeros((*truth.shape, 4), np.uint8)
    found, false, missed, *confused = kinds(ways)[:-1]
    valid = truth != VOID
    _paint(layer, ~valid, NOT_COUNTED.hatch, _GREY)
    for way in range(1, ways + 1):
        own, meant = prediction == way, truth == way
        parts = [(found, own & meant), (false, own & (truth == 0)), (missed, meant & (prediction == 0))]
        parts += [(kind, own & valid & ~meant & (truth != 0)) for kind in confused]
        for kind, chosen in parts:
            _paint(layer, chosen, kind.hatch, kind.colour or colour(way))
    return layer


def swatch(kind: Kind, label: int = 1, size: tuple[int, int] = (24, 40)) -> UInt8:
    """A small layer (H, W, 4) of one kind of region, for a legend."""
    layer = np.zeros((*size, 4), np.uint8)
    chosen = np.pad(np.ones((size[0] - 2, size[1] - 2), bool), 1)
    _paint(layer, chosen, kind.hatch, kind.colour or colour(label))
    return layer


def over(image: UInt8, layer: UInt8) -> UInt8:
    """``layer`` (H, W, 4) laid over ``image`` (H, W, 3)."""
    alpha = layer[..., 3:].astype(np.float32) / 255
    return ((1 - alpha) * image + alpha * layer[..., :3]).round().astype(np.uint8)


def _paint(layer: UInt8, chosen: Bool, hatch: Hatch, rgb: tuple[int, int, int]) -> None:
    if not chosen.any():
        return
    width = max(1, round(min(chosen.shape) / _LINES))
    layer[chosen] = (*rgb, _FILL)
    rows, columns = np.ogrid[: chosen.shape[0], : chosen.shape[1]]
    stripes = {"/": (rows + columns,), "\\": (rows - columns,), "x": (rows + columns, rows - columns)}.get(hatch, ())
    for at in stripes:
        phase = at // width % _PERIOD
        layer[chosen & (phase < 2)] = (*rgb, _SOLID)
        layer[chosen & (phase == 2)] = (*_WHITE, _SOLID)
        layer[chosen & (phase == 3)] = (*_BLACK, _SOLID)
    if hatch == ".":
        dots = (rows // width % 4 == 0) & (columns // width % 4 == 0)
        layer[chosen & dots] = (*_WHITE, _SOLID)
    else:
        _outline(layer, chosen, width, rgb)


def _outline(layer: UInt8, chosen: Bool, width: int, rgb: tuple[int, int, int]) -> None:
    """Black along the border of a region, and white within it; the picture's own border is none.

    Where a region is too thin for both, it is filled with its colour instead.
    """
    inner = _shrunk(chosen, 2 * width)
    wide = chosen & ~_shrunk(~inner, 2 * width + 1)
    layer[chosen & ~wide] = (*rgb, _SOLID)
    layer[wide & ~inner] = (*_WHITE, _SOLID)
    layer[wide & ~_shrunk(chosen, width)] = (*_BLACK, _SOLID)


def _shrunk(region: Bool, width: int) -> Bool:
    """A region without what is within ``width`` pixels of its border; the picture's border is none."""
    for _ in range(width):
        padded = np.pad(region, 1, mode="edge")
        region = region & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return region
