"""From run folders to scores: every number is computed from the stored counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.intervals import Score, bootstrap_intervals
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou
from fsseg_bench.protocol.statistics import FoldCounts, Interval, Metric
from fsseg_bench.records.read import (
    EpisodeCounts,
    RecordError,
    RecordWarning,
    StoredRun,
    find_records,
    read_run,
)

if TYPE_CHECKING:
    import pandas as pd

Resolution = Literal["input", "native"]
"""Where pixels were counted: at the protocol's input size or at the query's own."""


@dataclass(frozen=True)
class ScoredRun:
    """A finished run with its counts."""

    record: StoredRun
    counts: EpisodeCounts = field(repr=False)
    _folds: dict[Resolution, FoldCounts] = field(default_factory=dict, repr=False, compare=False)

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

    def fold_counts(self, resolution: Resolution) -> FoldCounts:
        """The counts as the statistics take them; always the same object."""
        if resolution not in self._folds:
            self._folds[resolution] = FoldCounts(
                getattr(self.counts, resolution), self.counts.classes, self.record.novel
            )
        return self._folds[resolution]

    def class_scores(self, resolution: Resolution) -> dict[str, float]:
        """IoU in [0, 1] of each held-out class by name."""
        names = self.record.settings.get("class_names", {})
        scores = class_iou(getattr(self.counts, resolution), self.counts.classes, self.record.novel)
        return {str(names.get(str(c), c)): float(s) for c, s in zip(self.record.novel, scores, strict=True)}


class Wanted(NamedTuple):
    """A score whose interval is wanted: of one run, or of the mean over the folds of several."""

    runs: tuple[ScoredRun, ...]
    metric: Metric
    resolution: Resolution


class Intervals:
    """95 % bootstrap intervals, each computed once. Those asked for together take a fraction of the time."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[Path, ...], Metric, Resolution], Interval] = {}

    def prepare(self, wanted: Iterable[Wanted]) -> None:
        """Computes those not known yet."""
        new = {self._key(one): one for one in wanted if one.runs and self._key(one) not in self._known}
        scores = [Score([run.fold_counts(w.resolution) for run in w.runs], w.metric) for w in new.values()]
        self._known.update(zip(new, bootstrap_intervals(scores), strict=True))

    def of(self, runs: Sequence[ScoredRun], metric: Metric, resolution: Resolution) -> Interval:
        """The interval of a run's score, or of the mean over the folds of several."""
        wanted = Wanted(tuple(runs), metric, resolution)
        self.prepare([wanted])
        return self._known[self._key(wanted)]

    @staticmethod
    def _key(wanted: Wanted) -> tuple[tuple[Path, ...], Metric, Resolution]:
        return tuple(run.record.folder for run in wanted.runs), wanted.metric, wanted.resolution


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
    intervals: Intervals = field(default_factory=Intervals, repr=False, compare=False)

    def path(self, run: StoredRun) -> str:
        """The run's folder relative to the root, with forward slashes."""
        if run.folder.is_relative_to(self.root):
            return run.folder.relative_to(self.root).as_posix()
        return run.folder.as_posix()


def find_runs(root: Path | str | None = None, *, episodes: int | None = None) -> Collection:
    """All runs under ``root`` (None: ``FSSEG_RESULTS``, else ``results/runs``).

    Args:
        root: the folder.
        episodes: count the first ones of each run only (they are what a table of that length would hold).

    Raises:
        UserError: there is no such folder, or ``episodes`` is below 1.
    """
    folder = results_root(root)
    if episodes is not None and episodes < 1:
        raise UserError(f"--episodes {episodes}: it must be at least 1")
    runs, warnings = find_records(folder)
    return _collection(folder, runs, warnings, episodes)


def open_runs(folders: Sequence[Path], root: Path | str | None = None) -> Collection:
    """The runs in exactly these folders; a folder without a usable record becomes a warning."""
    runs, warnings = [], []
    for folder in dict.fromkeys(folders):
        try:
            runs.append(read_run(folder))
        except RecordError as error:
            warnings.append(RecordWarning(folder, str(error)))
    return _collection(results_root(root), runs, warnings)


def results(root: Path | str | None = None) -> pd.DataFrame:
    """The long frame of all finished runs under ``root`` (None: the default results folder).

    One row for each run, metric (``mean``, ``binary``) and resolution (``input``, ``native``). Columns:
    ``protocol``, ``protocol_label``, ``protocol_version``, ``protocol_digest``, ``method``, ``backbone``, ``way``,
    ``shot``, ``fold``, ``seed``, ``metric``, ``resolution``, ``value``, ``low``, ``high`` (in 0..1, 95 % bootstrap
    interval over episodes), ``episodes`` (their number), ``episode_digest``, ``status``, ``path``. Skipped records
    are named in ``frame.attrs["skipped"]``.

    Raises:
        UserError: there is no such folder.
    """
    return _frame(find_runs(root))


def results_of(folders: Sequence[Path]) -> pd.DataFrame:
    """The long frame of the finished runs in ``folders``; see :func:`results`."""
    return _frame(open_runs(folders))


def _collection(
    root: Path, runs: Iterable[StoredRun], warnings: Iterable[RecordWarning], episodes: int | None = None
) -> Collection:
    done, unfinished, skipped = [], [], list(warnings)
    for run in runs:
        if run.status != "done":
            unfinished.append(run)
            continue
        try:
            scored = ScoredRun(run, _first(run.counts(), episodes))
            scored.score("mean", "input")
        except UserError as error:
            message = str(error)
            if str(run.folder) not in message:
                message = f"{run.folder}: {message}"
            skipped.append(RecordWarning(run.folder, message))
        else:
            done.append(scored)
    return Collection(root, tuple(done), tuple(unfinished), tuple(skipped), episodes)


def _first(counts: EpisodeCounts, episodes: int | None) -> EpisodeCounts:
    if episodes is None:
        return counts
    if len(counts.classes) < episodes:
        raise UserError(f"the run has {len(counts.classes)} episodes; the first {episodes} were asked for")
    return EpisodeCounts(*(part[:episodes] for part in counts))


_COPIED = (
    *("protocol", "protocol_label", "protocol_version", "protocol_digest"),
    *("method", "backbone", "way", "shot", "fold", "seed"),
)


def _frame(collection: Collection) -> pd.DataFrame:
    import pandas as pd

    every = [
        Wanted((run,), metric, resolution)
        for run in collection.done
        for metric in get_args(Metric)
        for resolution in get_args(Resolution)
    ]
    collection.intervals.prepare(every)
    rows = []
    for run in collection.done:
        settings = run.record.settings
        for metric in get_args(Metric):
            for resolution in get_args(Resolution):
                low, high = collection.intervals.of([run], metric, resolution)
                rows.append(
                    {key: settings[key] for key in _COPIED}
                    | {"metric": metric, "resolution": resolution}
                    | {"value": run.score(metric, resolution), "low": low, "high": high}
                    | {"episodes": len(run.counts.classes), "episode_digest": settings["episode_digest"]}
                    | {"status": run.record.status, "path": str(run.record.folder)}
                )
    columns = [*_COPIED, "metric", "resolution", "value", "low", "high", "episodes", "episode_digest", "status", "path"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs["skipped"] = [warning.message for warning in collection.warnings]
    return frame
