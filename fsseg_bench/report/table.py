"""The tables of runs: their scores like the paper's Table 1, the IoU of each class, and what is not finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.settings import Rules
from fsseg_bench.report.cells import MeasuredCells, number, ranked
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.intervals import (
    episodes_words,
    image_remarks,
    images_remark,
    side_remarks,
    spread_remark,
    spread_words,
)
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.published import FoldOrMean
from fsseg_bench.report.rows import differences_of_training, group_rows
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.seen import differences, marked, marks, seen_of_row
from fsseg_bench.report.words import METRIC_NAMES

SIZES: dict[Resolution, str] = {"input": "the protocol's input size", "native": "the images' own size"}
HOW: dict[Metric, str] = {
    "mean": "Mean-IoU: pixel counts are summed over a fold's episodes, IoU is taken per held-out class and averaged "
    "over classes (background excluded)",
    "binary": "Binary-IoU: all pixels of a fold are pooled; the mean of foreground and background IoU",
    "boundary": "Boundary-IoU: as mean-IoU, of the pixels of each mask that lie within {} of the image's diagonal of "
    "its outline",
}
_WIDEST = 12
"""Columns of numbers that a page holds."""


def runs_tables(
    collection: Collection, metric: Metric = "mean", resolution: Resolution | None = None
) -> tuple[Table, ...]:
    """One table for each protocol (label, version, digest) and number of ways among the finished runs.

    Where two shots side by side would be too wide, each shot has a table of its own. Numbers are percent. A mean over
    folds exists only where all folds of the protocol do. Fold columns show ``metric``; with ``mean`` a column with the
    folds' mean binary-IoU is added. Pixels are counted at ``resolution`` (None: each protocol's headline).
    """
    return tuple(
        _table(rules, some, collection, metric, resolution or runs[0].record.settings.headline)
        for rules, runs in sorted(collection.by_rules.items())
        for some in _side_by_side(runs, metric)
    )


def _side_by_side(runs: Sequence[ScoredRun], metric: Metric) -> list[list[ScoredRun]]:
    """The runs of each table: those of all shots, or of one shot where two would be too wide."""
    if not _wide(runs, metric):
        return [list(runs)]
    shots = sorted({run.record.settings.shot for run in runs})
    return [[run for run in runs if run.record.settings.shot == shot] for shot in shots]


def _wide(runs: Sequence[ScoredRun], metric: Metric) -> bool:
    return 2 * len(_places(runs, metric)) > _WIDEST


def _places(runs: Sequence[ScoredRun], metric: Metric) -> list[tuple[FoldOrMean, Metric]]:
    """What has a column at each shot. A single fold has none beside the mean, which it is."""
    folds, means = _folds(runs), _means(runs, metric)
    return [*((fold, metric) for fold in folds if len(folds) > 1), *(("mean", one) for one in means)]


def _means(runs: Sequence[ScoredRun], metric: Metric) -> list[Metric]:
    """What has a column of its mean over the folds."""
    if metric != "mean":
        return [metric]
    return ["mean", "binary", "boundary"] if _band(runs) else ["mean", "binary"]


def _band(runs: Sequence[ScoredRun]) -> float:
    """The width of the bands along outlines that all runs counted, as a share of the diagonal; 0: none."""
    widths = {run.record.settings.boundary for run in runs}
    return (widths.pop() or 0.0) if len(widths) == 1 else 0.0


def _folds(runs: Sequence[ScoredRun]) -> range:
    """All folds of the protocol of ``runs``."""
    return max((run.record.folds for run in runs), key=len)


def _table(
    rules: Rules, runs: Sequence[ScoredRun], collection: Collection, metric: Metric, resolution: Resolution
) -> Table:
    rows = group_rows(runs, collection)
    shots = sorted({shot for row in rows for shot in row.runs})
    folds = _folds(runs)
    words = f"{rules.way}-way {shots[0]}-shot" if _wide(runs, metric) else f"{rules.way}-way"
    labels = ("method", "backbone", "settings") if any(row.variant for row in rows) else ("method", "backbone")
    cells = MeasuredCells(collection, resolution, folds)
    cells.prepare(rows, [metric], _means(runs, metric))
    places = [(shot, place, own) for shot in shots for place, own in _places(runs, metric)]
    columns = [*(Column(("", name)) for name in labels), *(_column(*place, metric) for place in places)]
    body = [
        (
            *(Cell(printable(text)) for text in (row.method, row.backbone, row.variant)[: len(labels)]),
            *(cells.at(row.runs.get(shot, {}), place, own) for shot, place, own in places),
        )
        for row in rows
    ]
    groups = [(row.backbone, row.rules) for row in rows]
    made = _of_rules(
        rules,
        runs,
        collection,
        resolution,
        name=("runs", f"{words.replace('-', '').replace(' ', '-')}-{metric}"),
        title=f"{METRIC_NAMES[metric]}, {words}",
        how=HOW[metric] + (f". {HOW['boundary'].format(f'{100 * _band(runs):g} %')}" if _band(runs) else ""),
        mean=mean_words(len(folds)),
        columns=columns,
        labels=len(labels),
        rows=ranked(body, range(len(labels), len(columns)), groups),
    )
    made = replace(made, remarks=(*training_remarks(rows), *made.remarks))
    return marked(made, [marks(seen_of_row(row)) for row in rows], labels.index("method"), groups)


def _column(shot: int, place: FoldOrMean, metric: Metric, of_table: Metric) -> Column:
    name = f"fold {place}" if place != "mean" else "mean" if metric == of_table else metric
    return Column((f"{shot}-shot", name), {"shot": shot, "fold": place, "metric": metric})


def _of_rules(
    rules: Rules,
    runs: Sequence[ScoredRun],
    collection: Collection,
    resolution: Resolution,
    *,
    name: tuple[str, str],
    title: str,
    how: str,
    mean: str = "",
    columns: Sequence[Column],
    labels: int,
    rows: Sequence[tuple[Cell, ...]],
) -> Table:
    """A table of ``runs``, with what all tables of runs under one set of rules say."""
    label, digest = printable(rules.label), rules.digest
    about = (
        f"{how}. Pixels are counted at {SIZES[resolution]}. {mean}".strip(),
        spread_remark(collection),
        f"{images_remark(runs)} Protocol {label}, version {rules.version}, digest {digest[:8]}.".strip(),
    )
    return Table(
        name=f"{name[0]}-{label}-v{rules.version}-{digest[:8]}-{name[1]}-{resolution}",
        title=f"{label}: {title}",
        caption=f"Percent {spread_words(collection)}; {episodes_words(runs, collection)}.",
        columns=tuple(columns),
        labels=labels,
        rows=tuple(rows),
        facts={
            "protocol": printable(rules.protocol),
            "protocol_label": label,
            "protocol_version": rules.version,
            "protocol_digest": digest,
            "way": rules.way,
            "resolution": resolution,
        },
        remarks=(*side_remarks(runs), *image_remarks(runs, collection), *about),
    )


def mean_words(folds: int) -> str:
    """What a table's mean is."""
    if folds == 1:
        return "The protocol has one fold, whose score is the mean."
    over = "both folds" if folds == 2 else f"all {folds} folds"
    return f"The mean is over {over} of the protocol; it is left out where a fold is missing."


def training_remarks(rows: Sequence[Row]) -> list[str]:
    """A remark where the rows of a table were not trained alike."""
    lines = [printable(line[0].upper() + line[1:]) for line in differences_of_training(rows)]
    return [f"Rows compare methods together with their trainings. {'. '.join(lines)}."] if lines else []


def class_tables(
    collection: Collection, resolution: Resolution | None = None, protocols: Sequence[str] | None = None
) -> tuple[Table, ...]:
    """A table for each protocol, number of ways and shot: a row a class, a column for each row of the runs' tables.

    Pixels are counted at ``resolution`` (None: each protocol's headline); ``protocols`` are names (None: all).
    """
    groups: dict[tuple[Rules, int], list[ScoredRun]] = defaultdict(list)
    for rules, runs in collection.by_rules.items():
        for run in runs if protocols is None or rules.protocol in protocols else ():
            groups[rules, run.record.settings.shot].append(run)
    return tuple(
        _class_table(*key, runs, collection, resolution or runs[0].record.settings.headline)
        for key, runs in sorted(groups.items())
    )


def _class_table(
    rules: Rules, shot: int, runs: Sequence[ScoredRun], collection: Collection, resolution: Resolution
) -> Table:
    rows, missing = group_rows(runs, collection), Cell(MISSING)
    seen = differences((row.method, seen_of_row(row)) for row in rows)
    cells = _class_cells(runs, collection, resolution)
    names = {
        (run.record.fold, c): printable(run.record.settings.class_name(c)) for run in runs for c in run.record.novel
    }
    made = _of_rules(
        rules,
        runs,
        collection,
        resolution,
        name=("classes", f"{rules.way}way-{shot}shot"),
        title=f"IoU of each class, {rules.way}-way {shot}-shot",
        how="A class's pixels are summed over the fold's episodes",
        columns=[
            Column(("", "fold"), merge=True),
            Column(("", "class")),
            *(_class_column(row, shot) for row in rows),
        ],
        labels=2,
        rows=[
            (Cell(f"fold {fold}"), Cell(name), *(cells.get((id(row.runs[shot].get(fold)), c), missing) for row in rows))
            for (fold, c), name in sorted(names.items())
        ],
    )
    return replace(made, remarks=(*made.remarks, *map(printable, seen)))


def _class_column(row: Row, shot: int) -> Column:
    method, backbone, settings = map(printable, (row.method, row.backbone, row.variant))
    name = f"{method}; {settings}" if settings else method
    return Column((backbone, name), {"shot": shot, "method": method, "backbone": backbone, "settings": settings})


def _class_cells(
    runs: Sequence[ScoredRun], collection: Collection, resolution: Resolution
) -> dict[tuple[int, int], Cell]:
    """The cell of each run, by its id, and class."""
    cells = {}
    for run, intervals in zip(runs, collection.intervals.of_classes(runs, resolution), strict=True):
        for c, score in run.class_scores(resolution).items():
            cells[id(run), c] = number(score, intervals[c], (collection.path(run.record),))
    return cells
