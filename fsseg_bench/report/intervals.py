"""Intervals of measured scores, many at once, and what tables say of them, of images and of episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsseg_bench.protocol.image_variance import Estimate
from fsseg_bench.protocol.images import EpisodeImages, few_in_folds
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
from fsseg_bench.records.info import TABLE_FILE
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.model import printable

if TYPE_CHECKING:
    from fsseg_bench.report.collect import Collection
    from fsseg_bench.report.scored import ScoredRun

UNKNOWN_IMAGES = "interval over the draw of episodes alone, which is too narrow: the images are not known"
"""What a cell says that has to do with the lesser interval."""
FEW_IMAGES = "a wide interval: few query images carry it, or one far more pixels than the others (1 degree of freedom)"
"""What a cell says whose interval is as wide for want of images as for what varies."""
HOW_TO_WRITE_TABLE = (
    "'fsseg-bench episodes' with the run's dataset, fold, way, shot and number of episodes writes the file into the "
    f"record's folder (--out RECORD/{TABLE_FILE})"
)
_ROUNDING = 1e-10
_SHOWN = 6


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
        key = self._key(wanted)
        if key not in self._known:
            self.prepare([wanted])
        return self._known[key]

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
    if found.unknown:
        return Stated(None, "images", f"no interval: {found.unknown}")
    return Stated(found.interval(), "images", FEW_IMAGES if found.df == 1 else "")


OVER: dict[IntervalKind, str] = {"images": "over images and episodes", "episodes": "over episodes alone"}
"""What intervals are over."""


def spread_words(collection: Collection) -> str:
    """What ± is, for a caption."""
    return f"± half the 95 % interval {OVER[collection.intervals.kind]}"


def spread_remark(collection: Collection) -> str:
    """What intervals mean, and what they do not cover."""
    if collection.intervals.kind == "images":
        over = "how far the score would move with other test images of the same kind"
    else:
        over = (
            "bootstrap, stratified by class: how far the score would move with other episodes of the same images, "
            "which says nothing about other images"
        )
    return f"Intervals are {OVER[collection.intervals.kind]} ({over}); they do not cover training again."


def side_remarks(runs: Sequence[ScoredRun]) -> tuple[str, ...]:
    """What the episodes of ``runs`` give away of the query besides its pixels."""
    found = sorted({told for run in runs if (told := run.record.settings.side_information)})
    return (f"Side information: {printable('; '.join(found))}.",) if found else ()


def image_remarks(runs: Sequence[ScoredRun], collection: Collection) -> tuple[str, ...]:
    """What must be known about the images of ``runs``: that they are unknown, or few."""
    if collection.intervals.kind != "images":
        return ()
    unknown = [run for run in runs if run.images is None]
    return (*few_in_folds(_places(runs)), *([_unknown_images(unknown, collection)] if unknown else []))


def _places(runs: Sequence[ScoredRun]) -> dict[str, EpisodeImages]:
    """The known images of each fold and shot; of each list of episodes where there are several."""
    found: dict[tuple[int, int], dict[str, EpisodeImages]] = {}
    for run in runs:
        if run.images is not None:
            settings = run.record.settings
            found.setdefault((settings.shot, settings.fold), {}).setdefault(settings.episode_digest, run.images)
    several = len({shot for shot, _ in found}) > 1
    return {
        (f"{shot}-shot " if several else "")
        + f"fold {fold}"
        + (f", episodes {digest[:8]}" if len(lists) > 1 else ""): images
        for (shot, fold), lists in sorted(found.items())
        for digest, images in lists.items()
    }


def _unknown_images(runs: Sequence[ScoredRun], collection: Collection) -> str:
    paths = [collection.path(run.record) for run in runs]
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        f"Records without {TABLE_FILE}, whose intervals are over episodes alone and too narrow: "
        f"{printable(', '.join(paths[:_SHOWN]))}{more}. {HOW_TO_WRITE_TABLE}."
    )


def episodes_words(runs: Sequence[ScoredRun], collection: Collection) -> str:
    """How many episodes each fold's numbers come from, for a caption."""
    counts = {run.record.runs for run in runs}
    if collection.episodes is not None:
        several = f" in each of {span(counts)} runs" if counts != {1} else ""
        return f"the first {collection.episodes:,} episodes of each fold{several}"
    several = f"{span(counts)} runs of " if counts != {1} else ""
    return f"{several}{span(len(run.counts.classes) // run.record.runs for run in runs)} episodes a fold"


def images_remark(runs: Sequence[ScoredRun]) -> str:
    """Of how many images the episodes of a fold are; empty where no run knows."""
    known = [run.images for run in runs if run.images is not None]
    return f"The episodes of a fold: {images_words(known)}." if known else ""


def span(numbers: Iterable[int]) -> str:
    """The least and the most of ``numbers``, once where they are equal."""
    least, *_, most = sorted(numbers) * 2
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def images_words(every: Sequence[EpisodeImages]) -> str:
    """How many images and different episodes the folds have."""
    numbers = [images.numbers for images in every]
    return (
        f"{span(n.different for n in numbers)} different episodes of {span(n.queries for n in numbers)} query and "
        f"{span(n.supports for n in numbers)} support images ({span(n.images for n in numbers)} different ones)"
    )


def class_names(run: StoredRun) -> dict[int, str]:
    """Names of a fold's held-out classes, by label value."""
    return {c: run.settings.class_name(c) for c in run.novel}
