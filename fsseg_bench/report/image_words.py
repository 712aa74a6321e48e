"""What tables say of images and episodes: how many there are, what ± is over, and when they are few or unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fsseg_bench.protocol.images import EpisodeImages, few_images
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.run import TABLE_FILE
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.model import printable

_SHOWN = 6


def spread_words(collection: Collection) -> str:
    """What ± is."""
    if collection.intervals.kind == "images":
        over = "over images and episodes: how far the score would move with other test images of the same kind"
    else:
        over = (
            "over episodes alone (bootstrap, stratified by class): how far the score would move with other episodes of "
            "the same images, which says nothing about other images"
        )
    return f"± is half the width of the 95 % interval {over}; it does not cover training again."


def image_remarks(runs: Sequence[ScoredRun], collection: Collection) -> tuple[str, ...]:
    """What must be known about the images of ``runs``: that they are unknown, or few."""
    if collection.intervals.kind != "images":
        return ()
    unknown = [run for run in runs if run.images is None]
    said = dict.fromkeys(
        f"Fold {run.record.fold}, {run.record.settings.shot}-shot: {text}."
        for run in runs
        if run.images is not None
        for text in few_images(run.images, class_names(run.record))
    )
    return (*map(printable, said), *([_unknown_images(unknown, collection)] if unknown else []))


def _unknown_images(runs: Sequence[ScoredRun], collection: Collection) -> str:
    paths = [collection.path(run.record) for run in runs]
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        f"Records without {TABLE_FILE}, whose intervals are over episodes alone and too narrow: "
        f"{printable(', '.join(paths[:_SHOWN]))}{more}. 'fsseg-bench episodes' with the run's dataset, fold, way, "
        f"shot and number of episodes writes the file into the record's folder (--out RECORD/{TABLE_FILE})."
    )


def episodes_words(runs: Sequence[ScoredRun], collection: Collection) -> str:
    """How many episodes, and of how many images, each fold's numbers come from."""
    if collection.episodes is not None:
        words = f"The first {collection.episodes:,} episodes of each fold"
    else:
        words = f"{span(len(run.counts.classes) for run in runs)} episodes a fold"
    known = [run.images for run in runs if run.images is not None]
    return f"{words}: {images_words(known)}" if known else words


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
