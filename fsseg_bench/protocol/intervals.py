"""Intervals of many scores at once: over images and episodes, or over episodes alone.

The latter are percentile bootstraps. Runs over the same episodes share their draws: which episodes a resample draws
depends on the seed, the fold's place among the averaged ones and the strata alone, so that sharing changes no number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.image_variance import Effects, Estimate, estimates, image_effects
from fsseg_bench.protocol.statistics import (
    FoldCounts,
    Interval,
    Metric,
    class_influence,
    episode_terms,
    fold_influence,
    images_of,
    mean_of_present,
    percentile_interval,
    ratios,
    resampled_sums,
    side_by_side,
)
from fsseg_bench.protocol.streams import stream

_NUMBERS = 6_000_000  # sums held at a time: 48 MB
_AT_ONCE = 64  # scores whose influences are held at a time: half a MB for 1,000 episodes


class Score(NamedTuple):
    """A score whose interval is wanted."""

    folds: Sequence[FoldCounts]
    """One fold, or the folds whose scores are averaged; their episodes are resampled independently."""
    metric: Metric


def image_estimates(scores: Sequence[Score]) -> list[Estimate]:
    """Each score with its standard error over images and episodes.

    Args:
        scores: with the images of every fold; the effects of equal fold objects are computed once.

    Raises:
        UserError: a class without an episode (the score itself is then undefined).
        ValueError: no folds, images that are not known, an unknown metric, or as ``scoring``.
    """
    if not all(score.folds for score in scores):
        raise ValueError("an interval needs at least one fold")
    wanted = {(id(fold), score.metric): fold for score in scores for fold in score.folds}
    known = dict(_effects(wanted))
    return [
        estimates([(images_of(fold), known[id(fold), score.metric]) for fold in score.folds])[0] for score in scores
    ]


def _effects(wanted: Mapping[tuple[int, Metric], FoldCounts]) -> Iterator[tuple[tuple[int, Metric], Effects]]:
    """The effects of the images on each fold's score; of folds that share their images for many at once."""
    alike: dict[int, list[tuple[int, Metric]]] = defaultdict(list)
    for key, fold in wanted.items():
        alike[id(images_of(fold))].append(key)
    for keys in alike.values():
        images = images_of(wanted[keys[0]])
        for first in range(0, len(keys), _AT_ONCE):
            part = keys[first : first + _AT_ONCE]
            effects = image_effects(images, side_by_side([fold_influence(wanted[key], key[1]) for key in part]))
            yield from ((key, effects.columns(slice(i, i + 1))) for i, key in enumerate(part))


def class_estimates(fold: FoldCounts) -> dict[int, Estimate]:
    """The IoU of each held-out class, by label value, with its standard error over images and episodes.

    Raises:
        UserError, ValueError: as :func:`image_estimates`.
    """
    images = images_of(fold)
    return dict(zip(fold.novel, estimates([(images, image_effects(images, class_influence(fold)))]), strict=True))


_Alike = tuple[int, bytes]
"""What folds must share to share draws: the position among those averaged, and each episode's stratum."""


def bootstrap_intervals(
    scores: Sequence[Score], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """The interval of each score with the images taken as given: a percentile bootstrap, stratified by class.

    Args:
        scores: what to resample; equal fold objects are resampled once.
        resamples: how many times the episodes are drawn anew.
        level: the share of resampled scores inside an interval.
        seed: the same seed gives the same intervals on every machine.

    Raises:
        UserError: a class without an episode (the score itself is then undefined).
        ValueError: no folds, no resamples, an unknown metric, a level outside (0, 1), or as ``scoring``.
    """
    if resamples < 1 or not all(score.folds for score in scores):
        raise ValueError(f"an interval needs at least one fold and one resample; resamples is {resamples}")
    totals = np.zeros((len(scores), resamples))
    for numbers, drawn in _drawn(scores, resamples, seed):
        totals[numbers] += mean_of_present(drawn, axis=1)
    totals /= np.array([[len(score.folds)] for score in scores]).reshape(-1, 1)
    return [percentile_interval(row, level) for row in totals]


def class_intervals(
    folds: Sequence[FoldCounts], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> list[dict[int, Interval]]:
    """For each fold the interval of each held-out class's IoU, by label value, from ``bootstrap_intervals``' draws.

    Raises:
        UserError, ValueError: as :func:`bootstrap_intervals`.
    """
    found: list[dict[int, Interval]] = [{} for _ in folds]
    for numbers, drawn in _drawn([Score([fold], "mean") for fold in folds], resamples, seed):
        for number in numbers:
            novel = folds[number].novel
            means = mean_of_present(drawn.reshape(len(drawn), -1, len(novel)), axis=1)  # over the runs
            found[number] = {c: percentile_interval(means[:, m], level) for m, c in enumerate(novel)}
    return found


def _drawn(scores: Sequence[Score], resamples: int, seed: int) -> Iterator[tuple[list[int], Float64]]:
    """Resampled IoUs (resamples, M) of each fold, and the positions of the scores that they enter."""
    for (place, strata), wanted in _wanted(scores).items():
        for part in _parts(list(wanted), resamples):
            terms = [episode_terms(scores[wanted[key][0]].folds[place], key[1]) for key in part]
            drawn = _resampled_ratios(terms, np.frombuffer(strata, np.int64), resamples, seed, place)
            yield from ((wanted[key], own) for key, own in zip(part, drawn, strict=True))


_Key = tuple[int, Metric, int]
"""A fold object's id, the metric, and how many things are averaged."""


def _wanted(scores: Sequence[Score]) -> dict[_Alike, dict[_Key, list[int]]]:
    """For folds that share draws: each fold and metric, and the scores that it enters."""
    wanted: dict[_Alike, dict[_Key, list[int]]] = defaultdict(lambda: defaultdict(list))
    strata: dict[int, bytes] = {}
    for number, score in enumerate(scores):
        for place, fold in enumerate(score.folds):
            if id(fold) not in strata:
                strata[id(fold)] = np.ascontiguousarray(fold.strata, dtype=np.int64).tobytes()
            things = fold.runs * (2 if score.metric == "binary" else len(fold.novel))
            wanted[place, strata[id(fold)]][id(fold), score.metric, things].append(number)
    return wanted


def _parts(keys: Sequence[_Key], resamples: int) -> Iterable[list[_Key]]:
    """``keys`` in pieces whose resampled sums fit the memory set aside."""
    part: list[_Key] = []
    for key in keys:
        if part and 2 * resamples * (key[2] + sum(k[2] for k in part)) > _NUMBERS:
            yield part
            part = []
        part.append(key)
    yield part


def _resampled_ratios(terms: Sequence[Int64], strata: Int64, resamples: int, seed: int, place: int) -> list[Float64]:
    """For each of ``terms`` (E, M, 2): (resamples, M) IoUs, NaN where a resample has no pixel of a thing."""
    sums = resampled_sums(np.concatenate(terms, axis=1), strata, resamples, stream("bootstrap", seed, place))
    ends = np.cumsum([own.shape[1] for own in terms])
    return np.split(ratios(sums), ends[:-1], axis=1)
