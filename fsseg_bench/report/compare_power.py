"""How many episodes and images it takes to resolve a difference."""

from __future__ import annotations

from typing import NamedTuple

from fsseg_bench.protocol.significance import episodes_needed, images_needed, resolvable
from fsseg_bench.report.compare import Adjusted, Comparison

POWER = 0.8


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
    now = resolvable(found.error, df=found.df, level=comparison.level, power=POWER)
    needed = episodes_needed(
        *(found.error, episodes, difference),
        lasting=found.lasting or 0.0,
        df=found.df,
        level=comparison.level,
        power=POWER,
    )
    if found.lasting is None:
        return Power(now, None, needed, None)
    of_folds = images_a_class(comparison)
    count = of_folds[fold] if fold is not None else sum(of_folds) / len(of_folds)
    images = images_needed(found.error, count, difference, df=found.df, level=comparison.level, power=POWER)
    best = resolvable(found.lasting, df=found.df, level=comparison.level, power=POWER)
    return Power(now, best, needed, images)
