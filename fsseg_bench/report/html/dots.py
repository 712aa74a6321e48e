"""Dot plots in rows: a scale that all rows share, marks with intervals, and their colours.

Places are percentages, so that a row is as wide as its column; the text beside it says what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsseg_bench.report.html.page import escape

_MOST_TICKS = 6
_COLOURS = 8
_SHAPES = (
    '<circle r="5.5"/>',
    '<path d="M-5 -5H5V5H-5Z"/>',
    '<path d="M0 -7L6.5 5H-6.5Z"/>',
    '<path d="M0 -7L6 0L0 7L-6 0Z"/>',
    '<path d="M0 7L6.5 -5H-6.5Z"/>',
    '<path d="M-6 -2H-2V-6H2V-2H6V2H2V6H-2V2H-6Z"/>',
)


@dataclass(frozen=True)
class Scale:
    """Where numbers are along a row."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float], *, zero: bool = False) -> Scale:
        """From the least to the most of ``values`` with some room; ``zero``: 0 is on it, too."""
        found = [*values, *([0.0] if zero else [])] or [0.0, 1.0]
        low, high = min(found), max(found)
        room = 0.06 * (high - low) or 0.5
        return cls(low - room, high + room)

    def place(self, value: float) -> str:
        """The place of ``value``, for an attribute of SVG."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    @property
    def ticks(self) -> list[float]:
        """Round numbers on the scale, at most six."""
        return ticks(self.low, self.high)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most six."""
    if high <= low:
        return [low]
    unit = 10.0 ** math.floor(math.log10(high - low))
    step = next(part * unit for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (part * unit) < _MOST_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class Mark(NamedTuple):
    """One number of a row."""

    value: float
    low: float | None
    high: float | None
    series: int
    """Which colour and shape."""


def row(scale: Scale, marks: Sequence[Mark], *, ticks: Sequence[float] = (), small: Sequence[float] = ()) -> str:
    """Marks with their intervals below one another, SVG.

    ``ticks`` are upright lines, ``small`` are small dots behind the first mark.
    """
    height = 28 if len(marks) < 2 else 10 + 12 * len(marks)
    parts = [_grid(scale)]
    parts += [f'<line class="tick" x1="{(x := scale.place(v))}" x2="{x}" y1="3" y2="{height - 3}"/>' for v in ticks]
    for i, mark in enumerate(marks):
        y = height / 2 if len(marks) == 1 else 11 + 12 * i
        if mark.low is not None and mark.high is not None:
            parts.append(
                f'<line class="bar {colour(mark.series)}" x1="{scale.place(mark.low)}" '
                f'x2="{scale.place(mark.high)}" y1="{y:g}" y2="{y:g}"/>'
            )
        if i == 0:
            parts += [f'<circle class="small" cx="{scale.place(v)}" cy="{y:g}" r="2.5"/>' for v in small]
        parts.append(f'<svg x="{scale.place(mark.value)}" y="{y:g}">{shape(mark.series)}</svg>')
    return f'<svg class="dots" width="100%" height="{height}" aria-hidden="true">{"".join(parts)}</svg>'


def axis(scale: Scale, unit: str) -> str:
    """The numbers below rows, SVG, and what they are."""
    texts = "".join(f'<text x="{scale.place(v)}" y="13" text-anchor="middle">{_text(v)}</text>' for v in scale.ticks)
    return (
        f'<svg class="dots axis" width="100%" height="18" aria-hidden="true">{texts}</svg>'
        f'<span class="unit">{escape(unit)}</span>'
    )


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def key(names: Sequence[tuple[str, int]]) -> str:
    """Which mark is which series, HTML."""
    items = "".join(f"<li>{sign(series)} {escape(name)}</li>" for name, series in names)
    return f'<ul class="key">{items}</ul>'


def sign(series: int) -> str:
    """The mark of a series beside its name, SVG."""
    return f'<svg class="sign" width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">{shape(series)}</svg>'


def shape(series: int) -> str:
    """The mark of a series, SVG around (0, 0)."""
    own = _SHAPES[(series % _COLOURS + series // _COLOURS) % len(_SHAPES)]
    return f'<g class="mark {colour(series)}">{own}</g>'


def colour(series: int) -> str:
    """The class of style that colours a series."""
    return f"s{series % _COLOURS}"


def _grid(scale: Scale) -> str:
    return "".join(
        f'<line class="{"zero" if v == 0 else "grid"}" x1="{(x := scale.place(v))}" x2="{x}" y1="0" y2="100%"/>'
        for v in scale.ticks
    )


class Palette:
    """One colour and shape for each row of tables, whichever part of the page shows it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def series(self, method: str, variant: str = "") -> int:
        """The number of a row's series; those of one method on several backbones share it."""
        return self._known.setdefault((method, variant), len(self._known))
