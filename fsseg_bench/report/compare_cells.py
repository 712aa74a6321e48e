"""The cells of a comparison's tables."""

from __future__ import annotations

from fsseg_bench.protocol.significance import SeedSpread
from fsseg_bench.report.compare import Adjusted
from fsseg_bench.report.compare_power import Power
from fsseg_bench.report.model import MISSING, Cell, printable

_LEAST_P = 1e-6


def power_cells(adjusted: Adjusted, found: Power | None, crossed: bool) -> list[Cell]:
    """The cells of what it takes to resolve a difference; ``crossed``: with those on other images."""
    error = adjusted.difference.error
    if found is None or error is None:
        return [Cell(MISSING, note=adjusted.difference.unknown), *([Cell(MISSING)] * (4 if crossed else 2))]
    none = "no number of episodes of these images resolves the difference; more images do"
    episodes = Cell("none suffices", note=none) if found.episodes is None else _count(found.episodes)
    cells = [Cell(f"{100 * error:.3f}", 100 * error), _points(found.resolvable), episodes]
    if found.at_best is not None and found.images is not None:
        cells[2:2] = [_points(found.at_best)]
        cells.append(_count(found.images))
    return cells


def _points(difference: float) -> Cell:
    return Cell(f"{100 * difference:.2f}", 100 * difference)


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)


def label_cells(*texts: str) -> list[Cell]:
    """The cells that name a row."""
    return [Cell(printable(text)) for text in texts]


def number_cells(adjusted: Adjusted) -> list[Cell]:
    """Both scores, their difference, its interval and its two p-values."""
    found = adjusted.difference
    sides = [
        Cell(f"{100 * found.baseline:.2f}", 100 * found.baseline),
        Cell(f"{100 * found.other:.2f}", 100 * found.other),
    ]
    value = 100 * found.value
    if found.low is None or found.high is None:
        missing = Cell(MISSING, note=f"no interval: {found.unknown}")
        return [*sides, Cell(f"{value:+.2f}", value), missing, _p_cell(found.p), _p_cell(adjusted.p_holm)]
    low, high = 100 * found.low, 100 * found.high
    return [
        *sides,
        Cell(f"{value:+.2f}", value, low, high),
        Cell(f"{low:+.2f} to {high:+.2f}", None, low, high),
        _p_cell(found.p),
        _p_cell(adjusted.p_holm),
    ]


def _p_cell(p: float | None) -> Cell:
    return Cell(p_text(p), p)


def p_text(p: float | None) -> str:
    """A p-value as it is printed: never 0, since no test at hand is that exact."""
    if p is None:
        return MISSING
    if p < _LEAST_P:
        return f"< {_LEAST_P:.0e}"
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def spread_cell(spread: SeedSpread | None) -> Cell:
    """Mean and standard deviation over training seeds."""
    if spread is None:
        return Cell(MISSING, note="the two sides have different training seeds")
    if spread.deviation is None:
        return Cell(f"{100 * spread.mean:.2f}", 100 * spread.mean, note="one training seed")
    return Cell(f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f}", 100 * spread.mean)
