"""The cells of a comparison's tables, and how many episodes and images it takes to resolve a difference."""

from __future__ import annotations

from typing import NamedTuple

from fsseg_bench.protocol.significance import Detection, SeedSpread
from fsseg_bench.report.compare import Adjusted, Comparison
from fsseg_bench.report.model import MISSING, Cell, printable

POWER = 0.8
_LEAST_P = 0.001


class Power(NamedTuple):
    """What a comparison can resolve, with a power of 80 %."""

    resolvable: float
    """The true difference, in 0..1, that the images and episodes at hand find."""
    at_best: float | None
    """The one that any number of episodes of these images finds; None where images are taken as given."""
    episodes: int | None
    """Episodes a fold, of the same images, that find the difference asked for; None where no number does."""
    images: int | None
    """Images a class, with as many episodes of each as now, that find it; None where images are taken as given."""


def images_a_class(comparison: Comparison) -> list[float]:
    """Query images of a class, for each fold; empty where the images are not known."""
    known = [images for images in comparison.images if images is not None]
    return [images.numbers.queries / len(set(images.classes[:, 0].tolist())) for images in known]


def power_of(comparison: Comparison, adjusted: Adjusted, difference: float, fold: int | None = None) -> Power | None:
    """What it takes to resolve ``difference`` (0..1) where the observed one varied as ``adjusted`` does.

    Args:
        comparison: the whole.
        adjusted: one of its differences.
        difference: to be found.
        fold: position of the fold that ``adjusted`` is of; None for the mean over the folds.

    Returns:
        None where no standard error is known.
    """
    found, episodes = adjusted.difference, max(comparison.episodes)
    if not found.error:
        return None
    test = Detection(found.df, comparison.level, POWER)
    now = test.resolvable(found.error)
    needed = test.episodes_needed(found.error, episodes, difference, found.lasting or 0.0)
    if found.lasting is None:
        return Power(now, None, needed, None)
    of_folds = images_a_class(comparison)
    count = of_folds[fold] if fold is not None else sum(of_folds) / len(of_folds)
    images = test.images_needed(found.error, count, difference)
    return Power(now, test.resolvable(found.lasting), needed, images)


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
    """A p-value as it is printed; below 0.001 no test at hand is exact."""
    if p is None:
        return MISSING
    if p < _LEAST_P:
        return f"< {_LEAST_P:g}"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def spread_cell(spread: SeedSpread | None) -> Cell:
    """Mean and standard deviation over training seeds."""
    if spread is None:
        return Cell(MISSING, note="the two sides have different training seeds")
    if spread.deviation is None:
        return Cell(f"{100 * spread.mean:.2f}", 100 * spread.mean, note="one training seed")
    return Cell(f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f}", 100 * spread.mean)
