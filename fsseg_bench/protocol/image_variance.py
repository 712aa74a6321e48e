r"""How far a score would move with other images and other episodes: a two-way variance, without resampling.

Episodes share images, so they are not independent: an episode's influence u (see ``statistics``) contains the
difficulty of its query image and the quality of its support images. Both are estimated for every image i:

* as a query: q_i is the sum of the influences of its episodes, divided by 1 - w_i, where w_i is its share in the pixels
  of its class. That is how far the score moves when the image is left out: a jackknife over query images;
* as a support of class c: s_ic is n_i times (the mean influence of the n_i episodes where it is a support, minus the
  mean influence of those where it could have been one and was not).

The variance of the score is the sum over images of (q_i + sum over c of s_ic)^2, each part times sqrt((n - 1) / n) for
the n images of its class, minus what chance alone puts into the squares of s: the sum of each episode's u^2 times the
squared weight that s gives it. An image's parts are added before squaring, over roles, classes and folds, because an
image that is hard as a query may be poor as a support, or hard in two classes. The variance is not taken below that of
the queries alone, nor below that of independent episodes, the sum of u^2. Influences are centred within each stratum
(the class of the query) first, since the classes of a fold are fixed.

Degrees of freedom follow Satterthwaite: (sum w_i^2)^2 / sum w_i^4 over the query images' shares w_i in the pixels of
the score, minus the number of strata.

With K = 1 and independent roles this is the estimator of Cameron, Gelbach and Miller (2011, "Robust inference with
multiway clustering") with a jackknife's correction for few images. For K > 1, a weight of 1 / K in the place of s_ic
makes the part of the supports too small by a factor of K^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.images import EpisodeImages, common_numbers, sums
from fsseg_bench.protocol.significance import t_quantile, two_sided_p
from fsseg_bench.protocol.statistics import Influence, Interval

ONE_IMAGE = "all pixels of a class are on one query image, so nothing is known about other images"
"""Why a score may have no interval."""
NOTHING_VARIES = "nothing varies between the images, which says nothing about other images"
"""The other reason."""
_ROUNDING = 1e-10  # of a score: what is smaller varies by rounding alone


@dataclass(frozen=True)
class Estimate:
    """A score with its standard error over images and episodes."""

    value: float
    """In [0, 1], or [-1, 1] for a difference."""
    error: float
    """Standard error; NaN where ``unknown`` says why there is none."""
    lasting: float
    """The part of the error that stays with any number of episodes of these images."""
    df: int
    """Degrees of freedom of the error, at least 1."""
    unknown: str = ""
    """Why there is no standard error; empty where there is one."""

    def half_width(self, level: float = 0.95) -> float:
        """Half the width of the confidence interval; NaN where it is unknown.

        Raises:
            ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; it must be between 0 and 1")
        return t_quantile((1 + level) / 2, self.df) * self.error

    def interval(self, level: float = 0.95) -> Interval | None:
        """The confidence interval of a score, cut off at 0 and 1; None where it is unknown.

        Raises:
            ValueError: a level outside (0, 1).
        """
        half = self.half_width(level)
        if self.unknown:
            return None
        return Interval(max(0.0, self.value - half), min(1.0, self.value + half), min(1.0, half))

    def p(self) -> float:
        """Two-sided p-value of the t test that the value is 0; NaN where the error is unknown.

        It is below 1 - level exactly where the interval of that level leaves 0 out.
        """
        return math.nan if self.unknown else two_sided_p(self.value / self.error, self.df)


class Effects(NamedTuple):
    """What the images of a fold do to T of its scores; I is the number of images."""

    value: Float64
    """(T,) the scores."""
    query: Float64
    """(I, T) the effect of each image through the episodes that it is the query of."""
    support: Float64
    """(I, T) through those that it is a support of."""
    chance: Float64
    """(T,) what chance alone adds to the sum of squares of ``support``."""
    episodes: Float64
    """(T,) the variance if all episodes were independent."""
    mass: Float64
    """(I, T) the share of each query image in the pixels that a score rests on."""
    strata: Float64
    """(T,) classes that a score rests on."""
    alone: Float64
    """(T,) in how many of these one image holds all pixels."""

    def columns(self, part: slice) -> Effects:
        """Those of some of the scores."""
        return Effects(*(array[..., part] for array in self))


def image_effects(images: EpisodeImages, influence: Influence) -> Effects:
    """The effects of a fold's images; ``influence`` is that of the same episodes.

    Raises:
        ValueError: other numbers of episodes.
    """
    sharing, mass = images.sharing, influence.mass
    if len(influence.change) != len(sharing.strata):
        raise ValueError(f"{len(influence.change)} episodes were counted, images are known of {len(sharing.strata)}")
    in_stratum = np.bincount(sharing.strata, minlength=sharing.classes)[:, None]
    means = sums(sharing.strata, influence.change, sharing.classes) / in_stratum
    change = influence.change - means[sharing.strata]
    of_group = sums(sharing.query_group, mass, len(sharing.query_image))
    of_stratum = sums(sharing.query_stratum, of_group, sharing.classes)
    share = _divided(of_group, of_stratum[sharing.query_stratum])
    alone = share > 1 - _ROUNDING
    left = np.where(alone, 1, 1 - share)
    images_of = sharing.images_of_stratum[sharing.query_stratum]
    query = sums(sharing.query_group, change, len(images_of)) / left * _small_sample(images_of)
    support, chance = _support_effects(images, change)
    count = len(images.names)
    return Effects(
        influence.value,
        sums(sharing.query_image, query, count),
        sums(sharing.support_image, support, count),
        chance,
        _total(change**2),
        sums(sharing.query_image, of_group, count),
        (of_stratum > 0).sum(axis=0).astype(np.float64),
        alone.sum(axis=0).astype(np.float64),
    )


def estimates(folds: Sequence[tuple[EpisodeImages, Effects]]) -> list[Estimate]:
    """The mean over ``folds``, at least one, of each of their T scores; image ids are of one data set."""
    many = len(folds)
    count, numbers = common_numbers(tuple(images for images, _ in folds))

    def by_image(parts: Sequence[Float64]) -> Float64:
        """(I, T) over all folds."""
        added = (sums(of_fold, part, count) for of_fold, part in zip(numbers, parts, strict=True))
        return np.asarray(sum(added) / many)

    of_folds = [effects for _, effects in folds]
    query = by_image([effects.query for effects in of_folds])
    both = query + by_image([effects.support for effects in of_folds])
    alike = np.asarray(sum(effects.episodes for effects in of_folds)) / many**2
    crossed = (both**2).sum(axis=0) - np.asarray(sum(effects.chance for effects in of_folds)) / many**2
    variance = np.maximum(np.maximum((query**2).sum(axis=0), crossed), alike)
    weights = by_image([effects.mass for effects in of_folds]) ** 2
    df = _divided(weights.sum(axis=0) ** 2, (weights**2).sum(axis=0)) - sum(effects.strata for effects in of_folds)
    value = np.asarray(sum(effects.value for effects in of_folds)) / many
    alone = np.asarray(sum(effects.alone for effects in of_folds))
    return [
        _estimate(*map(float, numbers)) for numbers in zip(value, variance, variance - alike, df, alone, strict=True)
    ]


def _estimate(value: float, variance: float, lasting: float, df: float, alone: float) -> Estimate:
    error = math.sqrt(variance)
    unknown = ONE_IMAGE if alone else NOTHING_VARIES if error < _ROUNDING else ""
    if unknown:
        return Estimate(value, math.nan, math.nan, 1, unknown)
    return Estimate(value, error, math.sqrt(max(0.0, lasting)), max(1, math.floor(df)))


def _support_effects(images: EpisodeImages, change: Float64) -> tuple[Float64, Float64]:
    """(S, T) the effect of each support group, and (T,) what chance adds to the sum of their squares."""
    sharing = images.sharing
    share = sharing.share[:, None]

    def contrast(values: Float64, inside: Float64, outside: Float64) -> Float64:
        """The sum over episodes where the image could be a support, weighted by whether it is one."""
        with_it = sums(sharing.support_group, values[sharing.support_episode], len(share))
        of_class = sums(sharing.way_classes, values[sharing.way_episodes], sharing.classes)
        possible = of_class[sharing.support_class] - sums(
            sharing.barred_group, values[sharing.barred_episode], len(share)
        )
        return inside * with_it + outside * (possible - with_it)

    # An image that is in every possible episode cannot be told from its class: it gets no effect of its own.
    usable = sharing.share < 1 - _ROUNDING
    free = np.where(usable, 1 - sharing.share, 1)[:, None]
    factor = np.where(usable[:, None], _small_sample(sharing.supports_of_class[sharing.support_class]), 0)
    ratio = -share / free
    effect = contrast(change, np.ones_like(share), ratio) * factor
    chance = contrast(change**2, np.ones_like(share), ratio**2) * factor**2
    return effect, _total(chance)


def _total(values: Float64) -> Float64:
    """(T,) the sums of (n, T), each added in the same order whatever is beside it: numpy's sum is not."""
    total: Float64 = sums(np.zeros(len(values), np.intp), values, 1)[0]
    return total


def _small_sample(images: Int64) -> Float64:
    """(n, 1) the square root of (n - 1) / n."""
    return np.sqrt((images - 1) / images)[:, None]


def _divided(part: Float64, whole: Float64) -> Float64:
    """``part / whole``; 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
