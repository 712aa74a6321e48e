"""From run folders to scores: every number is computed from the stored counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import FoldCounts, IntervalKind, Metric
from fsseg_bench.records.info import TABLE_FILE
from fsseg_bench.records.read import (
    EpisodeCounts,
    RecordError,
    RecordWarning,
    StoredRun,
    find_records,
    read_run,
)
from fsseg_bench.records.settings import Rules
from fsseg_bench.report.intervals import Intervals


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
            scores["mean", resolution] = mean_iou(confusion, self.counts.classes, novel)
            scores["binary", resolution] = binary_iou(confusion)
        return scores

    def score(self, metric: Metric, resolution: Resolution) -> float:
        """Mean-IoU or binary-IoU of the fold, in [0, 1].

        Raises:
            UserError: a held-out class has no episode.
        """
        return self._scores[metric, resolution]

    @cached_property
    def _folds(self) -> dict[Resolution, FoldCounts]:
        about = self.counts.classes, self.record.novel, self.images
        return {resolution: FoldCounts(getattr(self.counts, resolution), *about) for resolution in get_args(Resolution)}

    def fold_counts(self, resolution: Resolution) -> FoldCounts:
        """The counts as the statistics take them; always the same object."""
        return self._folds[resolution]

    def class_scores(self, resolution: Resolution) -> dict[int, float]:
        """IoU in [0, 1] of each held-out class by label value."""
        fold = self.fold_counts(resolution)
        return dict(zip(fold.novel, class_iou(fold.confusion, fold.classes, fold.novel).tolist(), strict=True))


@dataclass(frozen=True)
class Collection:
    """What was found among the records."""

    root: Path
    """The folder that paths are shown relative to."""
    done: tuple[ScoredRun, ...]
    """Finished runs; only these make numbers."""
    unfinished: tuple[StoredRun, ...]
    """Runs that are not done, with their status."""
    warnings: tuple[RecordWarning, ...]
    """Records that were skipped, and why."""
    episodes: int | None = None
    """How many of each run's first episodes count; None: all."""
    left_out: int = 0
    """How many runs are not among these because of what was asked for."""
    intervals: Intervals = field(default_factory=Intervals, repr=False, compare=False)

    @property
    def by_rules(self) -> dict[Rules, list[ScoredRun]]:
        """The finished runs of each table of runs: of one protocol (label, version, digest) and number of ways."""
        found: dict[Rules, list[ScoredRun]] = defaultdict(list)
        for run in self.done:
            found[run.record.settings.rules].append(run)
        return found

    def path(self, run: StoredRun) -> str:
        """The run's folder relative to the root, with forward slashes."""
        if run.folder.is_relative_to(self.root):
            return run.folder.relative_to(self.root).as_posix()
        return run.folder.as_posix()


def find_runs(
    root: Path | str | None = None, *, episodes: int | None = None, interval: IntervalKind = "images"
) -> Collection:
    """All runs under ``root`` (None: ``FSSEG_RESULTS``, else ``results/runs``), with intervals over ``interval``.

    With ``episodes`` the first ones of each run count, which are what a table of that length would hold.

    Raises:
        UserError: there is no such folder, or ``episodes`` is below 1.
    """
    folder = results_root(root)
    if episodes is not None and episodes < 1:
        raise UserError(f"--episodes {episodes}: it must be at least 1")
    runs, warnings = find_records(folder)
    return _collection(folder, runs, warnings, episodes, interval)


def any_runs(
    root: Path | str | None = None, *, episodes: int | None = None, interval: IntervalKind = "images"
) -> Collection:
    """The runs under ``root``; none where the default folder does not exist, since published numbers need no runs.

    Raises:
        UserError: ``root`` is given and there is no such folder, or as :func:`find_runs`.
    """
    folder = results_root(root)
    if root is None and not folder.is_dir():
        return Collection(folder, (), (), (), intervals=Intervals(interval))
    return find_runs(root, episodes=episodes, interval=interval)


class KnownImages:
    """Images by episode digest. A record without a table of its own gets the one of another with this digest."""

    def __init__(self) -> None:
        self._whole: dict[str, EpisodeImages] = {}
        self._heads: dict[tuple[str, int], EpisodeImages] = {}

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
        if (digest, count) not in self._heads:
            whole = self._whole[digest]
            self._heads[digest, count] = whole if count == len(whole.queries) else whole.head(count)
        images = self._heads[digest, count]
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


def open_runs(folders: Sequence[Path], root: Path | str | None = None) -> Collection:
    """The runs in exactly these folders; a folder without a usable record becomes a warning."""
    runs, warnings = [], []
    for folder in dict.fromkeys(folders):
        try:
            runs.append(read_run(folder))
        except RecordError as error:
            warnings.append(RecordWarning(folder, str(error)))
    return _collection(results_root(root), runs, warnings)


def _collection(
    root: Path,
    runs: Iterable[StoredRun],
    warnings: Iterable[RecordWarning],
    episodes: int | None = None,
    interval: IntervalKind = "images",
) -> Collection:
    done, unfinished, skipped, known = [], [], list(warnings), KnownImages()
    for run in runs:
        if run.status != "done":
            unfinished.append(run)
            continue
        try:
            scored = ScoredRun(run, _first(run.counts(), episodes))
            scored.score("mean", "input")
            known.add(run)
        except UserError as error:
            skipped.append(_skipped(run, error))
        else:
            done.append(scored)
    whole = []
    for scored in done:  # now that all tables are known
        try:
            whole.append(replace(scored, images=known.of(scored.record, scored.counts)))
        except UserError as error:
            skipped.append(_skipped(scored.record, error))
    return Collection(root, tuple(whole), tuple(unfinished), tuple(skipped), episodes, intervals=Intervals(interval))


def _skipped(run: StoredRun, error: UserError) -> RecordWarning:
    message = str(error)
    return RecordWarning(run.folder, message if str(run.folder) in message else f"{run.folder}: {message}")


def _first(counts: EpisodeCounts, episodes: int | None) -> EpisodeCounts:
    if episodes is None:
        return counts
    if len(counts.classes) < episodes:
        raise UserError(f"the run has {len(counts.classes)} episodes; the first {episodes} were asked for")
    return EpisodeCounts(*(part[:episodes] for part in counts))
