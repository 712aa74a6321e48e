"""Outlines, textures and noise of the embedded images, in arithmetic that gives the same pixels everywhere.

Only ``random_sample`` of numpy's frozen generator, and sums, products, quotients, comparisons and floors of float64
are used, element by element: no machine and no library version rounds these differently. Sines come from a table
with rounded entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fsseg_bench.conventions import Bool, Float64

Pattern = Callable[[Float64, Float64], Bool]

TURNS = 360
"""Directions in the table: a direction is an integer in [0, TURNS)."""

_STEPS = 1 << 20
_COS = tuple(round(math.cos(2 * math.pi * k / TURNS) * _STEPS) / _STEPS for k in range(TURNS))


def cos(turn: int) -> float:
    """The cosine of ``turn`` degrees, rounded to 2**-20."""
    return _COS[turn % TURNS]


def sin(turn: int) -> float:
    """The sine of ``turn`` degrees, rounded to 2**-20."""
    return _COS[(turn - 90) % TURNS]


def between(rng: np.random.RandomState, low: float, high: float) -> float:
    """A uniform number in [low, high)."""
    return low + (high - low) * float(rng.random_sample())


def value_noise(rng: np.random.RandomState, shape: tuple[int, ...], cell: float) -> Float64:
    """Smooth noise in [0, 1) of ``shape`` (height, width): values on a grid ``cell`` pixels apart, interpolated."""
    height, width = shape
    grid = rng.random_sample((int(height / cell) + 2, int(width / cell) + 2))
    y, x = (np.arange(height) + 0.5) / cell, (np.arange(width) + 0.5) / cell
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    fy, fx = (y - row)[:, None], (x - column)[None, :]
    lines = grid[row] * (1.0 - fy) + grid[row + 1] * fy
    noise: Float64 = lines[:, column] * (1.0 - fx) + lines[:, column + 1] * fx
    return noise


# --- where things lie -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pose:
    """Where and how an outline or a texture lies on the canvas (in canvas pixels)."""

    x: float
    y: float
    radius: float
    """Of the disc with the outline's area; of a texture its period."""
    stretch: float
    """Widens the outline's first axis by this factor and narrows the second by it."""
    turn: int
    """Direction of the first axis, in degrees."""

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the outline may touch."""
        reach = 1.6 * self.radius * max(self.stretch, 1.0 / self.stretch) + 1.0
        rows = slice(max(0, int(self.y - reach)), min(height, int(self.y + reach) + 1))
        columns = slice(max(0, int(self.x - reach)), min(width, int(self.x + reach) + 1))
        return rows, columns

    def coordinates(self, window: tuple[slice, slice]) -> tuple[Float64, Float64]:
        """Object coordinates (unit: ``radius``) of the pixel centres of a window."""
        rows, columns = window
        dx = np.arange(columns.start, columns.stop)[None, :] + (0.5 - self.x)
        dy = np.arange(rows.start, rows.stop)[:, None] + (0.5 - self.y)
        along, across = dx * cos(self.turn) + dy * sin(self.turn), dy * cos(self.turn) - dx * sin(self.turn)
        return along / (self.radius * self.stretch), across / (self.radius / self.stretch)


# --- outlines -------------------------------------------------------------------------------------------------------
# Each has the area of a disc of radius 1, so that size says nothing about the class.


def _polar(*points: tuple[float, int]) -> tuple[tuple[float, float], ...]:
    return tuple((radius * cos(turn), radius * sin(turn)) for radius, turn in points)


_TRIANGLE = _polar(*((1.555, 90 + 120 * k) for k in range(3)))
_STAR = _polar(*((1.462 if k % 2 == 0 else 0.731, 90 + 36 * k) for k in range(10)))
_BAR = ((-1.373, -0.572), (1.373, -0.572), (1.373, 0.572), (-1.373, 0.572))
_LONG, _HALF = 1.108, 0.443  # of the cross: arm length from the centre, half the arm's width
_CROSS = (
    *((_LONG, -_HALF), (_LONG, _HALF), (_HALF, _HALF), (_HALF, _LONG)),
    *((-_HALF, _LONG), (-_HALF, _HALF), (-_LONG, _HALF), (-_LONG, -_HALF)),
    *((-_HALF, -_HALF), (-_HALF, -_LONG), (_HALF, -_LONG), (_HALF, -_HALF)),
)


def _inside(vertices: tuple[tuple[float, float], ...], x: Float64, y: Float64) -> Bool:
    """Whether points lie in a polygon: an odd number of edges is crossed on the way to the right."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    for (x1, y1), (x2, y2) in zip(vertices, (*vertices[1:], vertices[0]), strict=True):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return inside


def _disc(x: Float64, y: Float64) -> Bool:
    return x * x + y * y <= 1.0


OUTLINES: dict[str, Pattern] = {
    "disc": _disc,
    "triangle": lambda x, y: _inside(_TRIANGLE, x, y),
    "bar": lambda x, y: _inside(_BAR, x, y),
    "cross": lambda x, y: _inside(_CROSS, x, y),
    "star": lambda x, y: _inside(_STAR, x, y),
}
"""Name to a function of object coordinates that says which points are inside."""


# --- textures -------------------------------------------------------------------------------------------------------


def _odd(x: Float64) -> Bool:
    """Whether the whole part of each number is odd."""
    odd: Bool = np.floor(x).astype(np.int64) % 2 == 1
    return odd


def _fraction(x: Float64) -> Float64:
    return x - np.floor(x)


def _stripes(u: Float64, _: Float64) -> Bool:
    return _odd(2.0 * u)


def _checks(u: Float64, v: Float64) -> Bool:
    return _odd(1.1 * u) ^ _odd(1.1 * v)


def _dots(u: Float64, v: Float64) -> Bool:
    du, dv = _fraction(0.8 * u) - 0.5, _fraction(0.8 * v) - 0.5
    return du * du + dv * dv < 0.07


def _mesh(u: Float64, v: Float64) -> Bool:
    return (_fraction(1.35 * u) < 0.3) | (_fraction(1.35 * v) < 0.3)


TEXTURES: dict[str, Pattern] = {"stripes": _stripes, "checks": _checks, "dots": _dots, "mesh": _mesh}
"""Name to a function of texture coordinates that says which of two colours to use."""
