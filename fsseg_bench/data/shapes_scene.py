"""One embedded image: a cluttered background, objects that hide each other in part, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import VOID, Bool, Float64, UInt8
from fsseg_bench.data.shapes_draw import OUTLINES, TEXTURES, TURNS, Pose, between, value_noise
from fsseg_bench.protocol.streams import below

FINE = 2
"""Canvas pixels along each side of an image pixel."""

# Image pixels, unless said otherwise.
_HEIGHT = (128, 160)
_WIDTH = (160, 192)
_RADIUS = (24.0, 38.0)  # of the disc with the object's area
_STRETCH = (0.85, 1.18)
_PERIOD = (9.0, 11.0)
_CONTRAST = 60.0  # least difference in brightness of a texture's colours
_TWICE = 0.3  # probability of a second object of the main class
_DISTRACTORS = (0, 0, 0, 1, 1, 1, 1, 1, 1, 2)  # objects of other classes, each number equally likely
_SAME_OUTLINE, _SAME_TEXTURE = 0.3, 0.15  # probabilities that a distractor is chosen for what it shares
_SEEN = 0.6  # least part of an object that others leave visible
_TRIES = 20

_LUMA = np.array([0.25, 0.625, 0.125])

Window = tuple[slice, slice]
Colours = tuple[Float64, Float64]


class Kind(NamedTuple):
    """What defines a class."""

    outline: str
    texture: str


class Scene(NamedTuple):
    """A finished image."""

    image: UInt8
    """(H, W, 3), RGB."""
    labels: UInt8
    """(H, W): 0 for the background, the class's label value, or 255 where a pixel lies on a border."""


@dataclass
class _Canvas:
    """The image in the making, ``FINE`` times as large as the result."""

    colours: UInt8
    """(height, width, 3)."""
    labels: UInt8
    """(height, width) label values."""
    owner: npt.NDArray[np.int16]
    """(height, width): which object was put there last, -1 for none."""
    shown: list[int]
    """Canvas pixels of each object that no other hides."""
    full: list[int]
    """Canvas pixels of each object alone."""


def draw_scene(rng: np.random.RandomState, kinds: Sequence[Kind], main: int) -> Scene:
    """An image that shows at least one object of ``kinds[main]``, most often with objects of other kinds.

    The label value of ``kinds[i]`` is ``i + 1``. Equal ``rng`` give the same image.
    """
    height = _HEIGHT[0] + below(rng, _HEIGHT[1] - _HEIGHT[0] + 1)
    width = _WIDTH[0] + below(rng, _WIDTH[1] - _WIDTH[0] + 1)
    canvas = _background(rng, height, width)
    for _ in range(2 + below(rng, 3)):
        _decoy(rng, canvas)
    for _ in range(3 + below(rng, 4)):
        _line(rng, canvas)
    chosen = [main] * (2 if rng.random_sample() < _TWICE else 1)
    others = _DISTRACTORS[below(rng, len(_DISTRACTORS))]
    chosen += [_distractor(rng, kinds, main) for _ in range(others)]
    for kind in chosen:
        _object(rng, canvas, kinds[kind], kind + 1)
    for _ in range(below(rng, 3)):
        _line(rng, canvas)
    return _finish(rng, canvas)


def _distractor(rng: np.random.RandomState, kinds: Sequence[Kind], main: int) -> int:
    """Another class, sometimes one with the main class's outline or texture."""
    wish = rng.random_sample()
    others = [i for i in range(len(kinds)) if i != main]
    pool = others
    if wish < _SAME_OUTLINE:
        pool = [i for i in others if kinds[i].outline == kinds[main].outline]
    elif wish < _SAME_OUTLINE + _SAME_TEXTURE:
        pool = [i for i in others if kinds[i].texture == kinds[main].texture]
    pool = pool or others or [main]
    return pool[below(rng, len(pool))]


def _background(rng: np.random.RandomState, height: int, width: int) -> _Canvas:
    noise = 0.5 * value_noise(rng, (height, width), between(rng, 30.0, 60.0))
    noise += 0.3 * value_noise(rng, (height, width), between(rng, 10.0, 20.0))
    noise += 0.2 * value_noise(rng, (height, width), between(rng, 2.0, 5.0))
    first, second = _two_colours(rng)
    colours = (first + noise[:, :, None] * (second - first)).astype(np.uint8)
    shape = (height * FINE, width * FINE)
    return _Canvas(
        colours=colours.repeat(FINE, 0).repeat(FINE, 1),
        labels=np.zeros(shape, np.uint8),
        owner=np.full(shape, -1, np.int16),
        shown=[],
        full=[],
    )


def _decoy(rng: np.random.RandomState, canvas: _Canvas) -> None:
    """Something of no class: an outline or a blob with noise in it, or a blob with a texture."""
    pose = _pose(rng, canvas, FINE * between(rng, 10.0, 30.0), 0.0, between(rng, 0.6, 1.6))
    place = pose.window(*canvas.labels.shape)
    x, y = pose.coordinates(place)
    look = rng.random_sample()
    mix = value_noise(rng, x.shape, FINE * between(rng, 3.0, 9.0))
    if look < 0.3:
        mask = list(OUTLINES.values())[below(rng, len(OUTLINES))](x, y)
    else:
        reach = value_noise(rng, x.shape, 0.6 * pose.radius)
        mask = x * x + y * y <= 0.1 + 2.0 * reach * reach
    if 0.3 <= look < 0.4:
        texture = list(TEXTURES.values())[below(rng, len(TEXTURES))]
        mix = texture(*_weave(rng).coordinates(place)).astype(np.float64)
    _paint(canvas, place, mask, mix, _two_colours(rng))


def _line(rng: np.random.RandomState, canvas: _Canvas) -> None:
    """A thin bar over what is there; its pixels are background."""
    pose = _pose(rng, canvas, FINE * between(rng, 8.0, 14.0), 0.0, between(rng, 2.0, 3.0))
    place = pose.window(*canvas.labels.shape)
    mask = OUTLINES["bar"](*pose.coordinates(place))
    colour = _colour(rng)
    _paint(canvas, place, mask, np.zeros(mask.shape), (colour, colour))


def _object(rng: np.random.RandomState, canvas: _Canvas, kind: Kind, label: int) -> None:
    """An object at a place where every earlier one stays visible enough; none when no such place is found."""
    for _ in range(_TRIES):
        radius = FINE * between(rng, *_RADIUS)
        pose = _pose(rng, canvas, radius, 0.9 * radius, between(rng, *_STRETCH))
        place = pose.window(*canvas.labels.shape)
        mask = OUTLINES[kind.outline](*pose.coordinates(place))
        under = canvas.owner[place][mask]
        hidden = np.bincount(under[under >= 0], minlength=len(canvas.shown)).tolist()
        shown = [s - h for s, h in zip(canvas.shown, hidden, strict=True)]
        if all(s >= _SEEN * f for s, f in zip(shown, canvas.full, strict=True)):
            break
    else:
        return
    canvas.owner[place][mask] = len(shown)
    canvas.shown = [*shown, int(mask.sum())]
    canvas.full.append(int(mask.sum()))
    mix = TEXTURES[kind.texture](*_weave(rng).coordinates(place)).astype(np.float64)
    _paint(canvas, place, mask, mix, _two_colours(rng), label)


def _pose(rng: np.random.RandomState, canvas: _Canvas, radius: float, inset: float, stretch: float) -> Pose:
    """A random place, at least ``inset`` from the canvas's border, and a random direction."""
    height, width = canvas.labels.shape
    x, y = between(rng, inset, width - inset), between(rng, inset, height - inset)
    return Pose(x, y, radius, stretch, below(rng, TURNS))


def _weave(rng: np.random.RandomState) -> Pose:
    period = FINE * between(rng, *_PERIOD)
    return Pose(between(rng, 0.0, 100.0), between(rng, 0.0, 100.0), period, 1.0, below(rng, TURNS))


def _colour(rng: np.random.RandomState) -> Float64:
    return np.floor(rng.random_sample(3) * 256.0)


def _two_colours(rng: np.random.RandomState) -> Colours:
    """Random colours, one clearly brighter than the other."""
    while True:
        first, second = _colour(rng), _colour(rng)
        # Whole numbers times eighths: the sum is exact in any order.
        if abs(float((_LUMA * (first - second)).sum())) >= _CONTRAST:
            return first, second


def _paint(canvas: _Canvas, place: Window, mask: Bool, mix: Float64, colours: Colours, label: int = 0) -> None:
    """Lays colours over the canvas where ``mask`` is: the first where ``mix`` is 0, the second where it is 1."""
    first, second = colours
    canvas.colours[place][mask] = (first + mix[mask][:, None] * (second - first)).astype(np.uint8)
    canvas.labels[place][mask] = label


def _finish(rng: np.random.RandomState, canvas: _Canvas) -> Scene:
    """The canvas at the image's size: colours averaged, light from one side, grain, void where labels meet."""
    corners = [(slice(i, None, FINE), slice(j, None, FINE)) for i in range(FINE) for j in range(FINE)]
    height, width = (side // FINE for side in canvas.labels.shape)
    light = 1.0 + between(rng, -0.3, 0.3) * (np.arange(width) / width - 0.5)[None, :]
    light = light + between(rng, -0.3, 0.3) * (np.arange(height) / height - 0.5)[:, None]
    grain = np.floor(rng.random_sample((height, width)) * 4.0) * 6.0 - 9.0
    total = np.zeros((height, width, 3), np.int64)
    labels = canvas.labels[corners[0]].copy()  # a view would change while the others are compared with it
    for corner in corners:
        total += canvas.colours[corner]
        labels[canvas.labels[corner] != canvas.labels[corners[0]]] = VOID
    image = total * (1.0 / FINE**2) * light[:, :, None] + grain[:, :, None]
    return Scene(np.clip(image, 0.0, 255.0).astype(np.uint8), labels)
