"""Finished runs with their counts and the images of their episodes: every number is computed from these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.scoring import binary_iou, boundary_iou, class_iou, mean_iou, runs_of
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, FoldCounts, Metric
from fsseg_bench.records.info import TABLE_FILE
from fsseg_bench.records.read import EpisodeCounts, RecordError, RecordWarning, StoredRun, try_record


@dataclass(frozen=True)
class ScoredRun:
    """A finished run with its counts."""

    record: StoredRun
    counts: EpisodeCounts = field(repr=False)
    images: EpisodeImages | None = field(default=None, repr=False, compare=False)
    """The images of the counted episodes; None where they are not known."""

    @cached_property
    def _scores(self) -> dict[tuple[Metric, Resolution], float]:
        novel = self.record.novel
        scores: dict[tuple[Metric, Resolution], float] = {}
        for resolution in get_args(Resolution):
            confusion = getattr(self.counts, resolution)
            scores["mean", resolution] = mean_iou(confusion, self.counts.classes, novel, self.record.runs)
            scores["binary", resolution] = binary_iou(confusion, self.record.runs)
            if self.counts.boundary is not None:
                bands = getattr(self.counts.boundary, resolution)
                scores["boundary", resolution] = boundary_iou(bands, self.counts.classes, novel, self.record.runs)
        return scores

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the run has a score of."""
        return (*METRICS, "boundary") if self.counts.boundary is not None else METRICS

    def score(self, metric: Metric, resolution: Resolution) -> float:
        """Mean-IoU, binary-IoU or, where outlines are counted, boundary-IoU of the fold, in [0, 1].

        Raises:
            UserError: a held-out class has no episode.
        """
        return self._scores[metric, resolution]

    @cached_property
    def _folds(self) -> dict[Resolution, FoldCounts]:
        about = self.counts.classes, self.record.novel, self.images, self.record.runs
        bands = self.counts.boundary
        return {
            resolution: FoldCounts(getattr(self.counts, resolution), *about, bands and getattr(bands, resolution))
            for resolution in get_args(Resolution)
        }

    def fold_counts(self, resolution: Resolution) -> FoldCounts:
        """The counts as the statistics take them; always the same object."""
        return self._folds[resolution]

    def with_images(self, images: EpisodeImages | None) -> ScoredRun:
        """The same run with the images of its episodes; its scores are not computed again."""
        made = replace(self, images=images)
        made.__dict__["_scores"] = self._scores
        return made

    def class_scores(self, resolution: Resolution) -> dict[int, float]:
        """IoU in [0, 1] of each held-out class by label value."""
        fold = self.fold_counts(resolution)
        scores = class_iou(fold.confusion, fold.classes, fold.novel, fold.runs)
        return dict(zip(fold.novel, scores.tolist(), strict=True))

    def run_scores(self, metric: Metric, resolution: Resolution) -> list[float]:
        """The score of each of the runs that the episodes are, in [0, 1]; :meth:`score` is their mean."""
        cells, classes = getattr(self.counts, resolution), self.counts.classes
        parts = runs_of(len(classes), self.record.runs)
        if metric == "binary":
            return [binary_iou(cells[part]) for part in parts]
        return [mean_iou(cells[part], classes[part], self.record.novel) for part in parts]


Found = ScoredRun | StoredRun | RecordWarning
"""A finished run, one that is not, or a record that cannot be used."""


def count(folder: Path, episodes: int | None) -> Found:
    """The record in ``folder``, scored, with the table of its episodes verified; the images are left out.

    With ``episodes`` the first ones count.
    """
    run = try_record(folder)
    if isinstance(run, RecordWarning) or run.status != "done":
        return run
    try:
        scored = ScoredRun(run, _first(run.counts(), episodes, run.runs))
        scored.score("mean", "input")
        run.table_bytes()
        _ = run.owner
    except UserError as error:
        return skipped(run, error)
    return scored


def skipped(run: StoredRun, error: UserError) -> RecordWarning:
    """What is said of a record that cannot be used; names it."""
    message = str(error)
    return RecordWarning(run.folder, message if str(run.folder) in message else f"{run.folder}: {message}")


def _first(counts: EpisodeCounts, episodes: int | None, runs: int) -> EpisodeCounts:
    """The first ``episodes`` of each run."""
    if episodes is None:
        return counts
    parts = runs_of(len(counts.classes), runs)
    if parts[0].stop < episodes:
        of = "the run has" if runs == 1 else "each of the runs has"
        raise UserError(f"{of} {parts[0].stop} episodes; the first {episodes} were asked for")
    return counts.of(np.concatenate([np.arange(part.start, part.start + episodes) for part in parts]))


class KnownImages:
    """Images by episode digest. A record without a table of its own gets the one of another with this digest."""

    def __init__(self) -> None:
        self._whole: dict[str, EpisodeImages] = {}
        self._heads: dict[tuple[str, int, int], EpisodeImages] = {}

    def knows(self, run: StoredRun) -> bool:
        """Whether the images of its episodes are known."""
        return run.settings.episode_digest in self._whole

    def add(self, run: StoredRun) -> None:
        """Learns from a record's table, where it has one.

        Raises:
            RecordError: the table is damaged.
        """
        digest = run.settings.episode_digest
        if digest in self._whole:
            run.table_bytes()
        elif (table := run.table()) is not None:
            self._whole[digest] = EpisodeImages.of(table)

    def of(self, run: StoredRun, counts: EpisodeCounts) -> EpisodeImages | None:
        """The images of the counted episodes; None where no record knows them.

        Raises:
            RecordError: the counts are of other episodes than the table.
        """
        digest, count = run.settings.episode_digest, len(counts.classes)
        if digest not in self._whole:
            return None
        key = digest, count, run.runs
        if key not in self._heads:
            whole, each = self._whole[digest], count // run.runs
            parts = [range(len(whole.queries))[part][:each] for part in runs_of(len(whole.queries), run.runs)]
            self._heads[key] = whole if count == len(whole.queries) else whole.some(np.concatenate(parts))
        images = self._heads[key]
        if not np.array_equal(images.classes, counts.classes):
            raise RecordError(f"{run.folder}: its counts are not those of the episodes in {TABLE_FILE}")
        return images


def score_runs(runs: Iterable[StoredRun]) -> list[ScoredRun]:
    """The runs with their counts; what one record knows of the images serves all.

    Raises:
        RecordError: a damaged record.
    """
    runs, known = list(runs), KnownImages()
    for run in runs:
        known.add(run)
    return [ScoredRun(run, counts := run.counts(), known.of(run, counts)) for run in runs]
