"""Intervals of measured scores, many at once, and what must be said about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsseg_bench.protocol.image_variance import Estimate
from fsseg_bench.protocol.intervals import (
    Score,
    bootstrap_intervals,
    class_estimates,
    class_intervals,
    image_estimates,
)
from fsseg_bench.protocol.paired_episodes import NOTHING_VARIES
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Interval, IntervalKind, Metric

if TYPE_CHECKING:
    from fsseg_bench.report.collect import ScoredRun

UNKNOWN_IMAGES = "interval over the draw of episodes alone, which is too narrow: the images are not known"
"""What a cell says that has to do with the lesser interval."""
_ROUNDING = 1e-10


class Stated(NamedTuple):
    """An interval as it is printed."""

    interval: Interval | None
    """None where there is none."""
    kind: IntervalKind
    """What it is over."""
    note: str = ""
    """Why there is none, or not the one asked for."""


class Wanted(NamedTuple):
    """A score whose interval is wanted: of one run, or of the mean over the folds of several."""

    runs: tuple[ScoredRun, ...]
    metric: Metric
    resolution: Resolution


_Key = tuple[tuple[Path, ...], Metric, Resolution]


class Intervals:
    """95 % intervals, each computed once. Those asked for together take a fraction of the time.

    Scores whose images are not known get intervals over episodes alone, with a note.
    """

    def __init__(self, kind: IntervalKind = "images") -> None:
        self.kind = kind
        """What they are over, where the images are known."""
        self._known: dict[_Key, Stated] = {}

    def prepare(self, wanted: Iterable[Wanted]) -> None:
        """Computes those not known yet."""
        new = {self._key(each): each for each in wanted if each.runs and self._key(each) not in self._known}
        crossed = {key: _score(each) for key, each in new.items() if self._over_images(each.runs)}
        alone = {key: _score(each) for key, each in new.items() if key not in crossed}
        found = image_estimates(list(crossed.values()))
        self._known |= {key: _of_estimate(own) for key, own in zip(crossed, found, strict=True)}
        drawn = bootstrap_intervals(list(alone.values()))
        self._known |= {key: self._of_episodes(own) for key, own in zip(alone, drawn, strict=True)}

    def of(self, runs: Sequence[ScoredRun], metric: Metric, resolution: Resolution) -> Stated:
        """The interval of a run's score, or of the mean over the folds of several."""
        wanted = Wanted(tuple(runs), metric, resolution)
        self.prepare([wanted])
        return self._known[self._key(wanted)]

    def of_classes(self, runs: Sequence[ScoredRun], resolution: Resolution) -> list[dict[int, Stated]]:
        """For each run the interval of each held-out class's IoU, by label value."""
        folds = [run.fold_counts(resolution) for run in runs]
        known = [self._over_images([run]) for run in runs]
        drawn = iter(class_intervals([fold for fold, images in zip(folds, known, strict=True) if not images]))
        found: list[dict[int, Stated]] = []
        for fold, images in zip(folds, known, strict=True):
            if images:
                found.append({c: _of_estimate(own) for c, own in class_estimates(fold).items()})
            else:
                found.append({c: self._of_episodes(own) for c, own in next(drawn).items()})
        return found

    def _over_images(self, runs: Sequence[ScoredRun]) -> bool:
        return self.kind == "images" and all(run.images is not None for run in runs)

    def _of_episodes(self, interval: Interval) -> Stated:
        if interval.half < _ROUNDING:
            return Stated(None, "episodes", f"no interval: {NOTHING_VARIES}")
        return Stated(interval, "episodes", UNKNOWN_IMAGES if self.kind == "images" else "")

    @staticmethod
    def _key(wanted: Wanted) -> _Key:
        return tuple(run.record.folder for run in wanted.runs), wanted.metric, wanted.resolution


def _score(wanted: Wanted) -> Score:
    return Score([run.fold_counts(wanted.resolution) for run in wanted.runs], wanted.metric)


def _of_estimate(found: Estimate) -> Stated:
    return Stated(found.interval(), "images", f"no interval: {found.unknown}" if found.unknown else "")
