"""Cells of measured numbers, and which of them is the best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.intervals import Stated, Wanted
from fsseg_bench.report.model import MISSING, Cell
from fsseg_bench.report.published import FoldOrMean
from fsseg_bench.report.run_spread import run_spread
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.seen import of_runs

Runs = Mapping[int, ScoredRun]
"""Fold to run."""


class MeasuredCells:
    """Makes cells, in percent, from runs of one protocol counted at one resolution."""

    def __init__(self, collection: Collection, resolution: Resolution, folds: Sequence[int]) -> None:
        self._collection = collection
        self._resolution = resolution
        self._folds = folds
        """All folds of the protocol."""

    def prepare(self, rows: Iterable[Row], folds: Sequence[Metric], means: Sequence[Metric]) -> None:
        """Computes the intervals of all cells of ``rows`` together, which takes a fraction of the time.

        ``folds`` are the metrics shown for single folds, ``means`` those for the mean over folds.
        """
        wanted = []
        for runs in (runs for row in rows for runs in row.runs.values()):
            wanted += [Wanted((run,), metric, self._resolution) for run in runs.values() for metric in folds]
            if len(runs) == len(self._folds):
                wanted += [Wanted(tuple(runs[f] for f in sorted(runs)), metric, self._resolution) for metric in means]
        self._collection.intervals.prepare(wanted)

    def at(self, runs: Runs, place: FoldOrMean, metric: Metric, missing: str = MISSING) -> Cell:
        """The score of one fold, or the mean of all folds of the protocol; ``missing`` where runs are."""
        needed = self._folds if place == "mean" else (place,)
        found = tuple(runs[fold] for fold in sorted(runs) if fold in needed)
        paths = tuple(self._collection.path(run.record) for run in found)
        if not found or len(found) < len(needed):
            return Cell(missing, note=f"{len(found)} of {len(needed)} folds" if found else "", runs=paths)
        value = fmean(run.score(metric, self._resolution) for run in found)
        made = number(value, self._collection.intervals.of(found, metric, self._resolution), paths)
        if spread := run_spread(found, metric, self._resolution):
            made = replace(made, note="; ".join(filter(None, [made.note, spread.words])))
        return replace(made, seen=of_runs(run.record for run in found))


def number(value: float, stated: Stated, runs: tuple[str, ...]) -> Cell:
    """A cell in percent from a score in [0, 1] and its interval; without one, a note says why."""
    if stated.interval is None:
        return Cell(f"{100 * value:.2f}", 100 * value, note=stated.note, runs=runs)
    low, high, half = stated.interval
    text = f"{100 * value:.2f} ± {100 * half:.2f}"
    return Cell(text, 100 * value, 100 * low, 100 * high, note=stated.note, runs=runs)


def ranked(
    rows: Sequence[tuple[Cell, ...]], columns: Iterable[int], groups: Sequence[Hashable]
) -> tuple[tuple[Cell, ...], ...]:
    """``rows`` with the best and the second best number of each column and group marked.

    Numbers that print alike share a rank; a number with nothing beside it has none. Where a row of the group has no
    number in a column, nothing is marked there: the best of some rows is not the best.

    Args:
        rows: the cells.
        columns: positions of the columns to rank.
        groups: for each row, what it is ranked within; None: not at all.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        if group is not None:
            members[group].append(i)
    marked = [list(row) for row in rows]
    for column in columns:
        for rivals in members.values():
            values = {i: round(value, 2) for i in rivals if (value := rows[i][column].value) is not None}
            best = sorted(set(values.values()), reverse=True)[:2]
            for i, value in values.items():
                if 1 < len(values) == len(rivals) and value in best:
                    marked[i][column] = replace(rows[i][column], rank=best.index(value) + 1)
    return tuple(tuple(row) for row in marked)
