"""The tables of a report: runs like the paper's Table 1, and what is not finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.cells import MeasuredCells, Runs, ranked
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.image_words import episodes_words, image_remarks, spread_words
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.rows import Row, differences_of_training, group_rows
from fsseg_bench.report.words import METRIC_NAMES

SIZES: dict[Resolution, str] = {"input": "the protocol's input size", "native": "the images' own size"}
HOW: dict[Metric, str] = {
    "mean": "pixel counts are summed over a fold's episodes, IoU is taken per held-out class and averaged over "
    "classes (background excluded)",
    "binary": "all pixels of a fold are pooled; the mean of foreground and background IoU",
}
_Key = tuple[str, str, int, str, int]
_WIDEST = 12
"""Columns of numbers that a page holds."""


def runs_tables(
    collection: Collection, metric: Metric = "mean", resolution: Resolution | None = None
) -> tuple[Table, ...]:
    """One table for each protocol (label, version, digest) and number of ways among the finished runs.

    Where two shots side by side would be too wide, each shot has a table of its own. Numbers are percent. A mean over
    folds exists only where all folds of the protocol do.

    Args:
        collection: the runs, from :func:`fsseg_bench.report.collect.find_runs`.
        metric: of the fold columns; with ``mean`` a column with the folds' mean binary-IoU is added.
        resolution: where pixels are counted; None takes each protocol's headline.
    """
    groups: dict[_Key, list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        groups[run.record.settings.rules].append(run)
    return tuple(
        _table(key, some, collection, metric, resolution or runs[0].record.settings.headline)
        for key, runs in sorted(groups.items())
        for some in _side_by_side(runs, metric)
    )


def _side_by_side(runs: Sequence[ScoredRun], metric: Metric) -> list[list[ScoredRun]]:
    """The runs of each table: those of all shots, or of one shot where two would be too wide."""
    if not _wide(_folds(runs), metric):
        return [list(runs)]
    shots = sorted({run.record.settings.shot for run in runs})
    return [[run for run in runs if run.record.settings.shot == shot] for shot in shots]


def _wide(folds: Sequence[int], metric: Metric) -> bool:
    return 2 * len(_columns(1, metric, folds)) > _WIDEST


def _folds(runs: Sequence[ScoredRun]) -> range:
    """All folds of the protocol of ``runs``."""
    return max((run.record.folds for run in runs), key=len)


def _table(
    key: _Key, runs: Sequence[ScoredRun], collection: Collection, metric: Metric, resolution: Resolution
) -> Table:
    protocol, label, version, digest, way = key
    rows = group_rows(runs, collection)
    shots = sorted({shot for row in rows for shot in row.runs})
    folds = _folds(runs)
    words = f"{way}-way {shots[0]}-shot" if _wide(folds, metric) else f"{way}-way"
    variants = any(row.variant for row in rows)
    labels = ("method", "backbone", "settings") if variants else ("method", "backbone")
    label, protocol = printable(label), printable(protocol)
    cells = MeasuredCells(collection, resolution, folds)
    cells.prepare(rows, [metric], ["mean", "binary"] if metric == "mean" else [metric])
    columns = (
        *(Column(("", name)) for name in labels),
        *(column for shot in shots for column in _columns(shot, metric, folds)),
    )
    body = [
        (
            *_label_cells(row, variants),
            *(c for shot in shots for c in _cells(row.runs.get(shot, {}), metric, cells, folds)),
        )
        for row in rows
    ]
    return Table(
        name=f"runs-{label}-v{version}-{digest[:8]}-{words.replace('-', '').replace(' ', '-')}-{metric}-{resolution}",
        title=f"{label}: {METRIC_NAMES[metric]}, {words}",
        caption=(
            f"Percent, counted at {SIZES[resolution]}: {HOW[metric]}. {episodes_words(runs, collection)}. "
            f"{spread_words(collection)} {mean_words(len(folds))} "
            f"Protocol {label}, version {version}, digest {digest[:8]}."
        ),
        columns=columns,
        labels=len(labels),
        rows=ranked(body, range(len(labels), len(columns)), [(row.backbone, row.rules) for row in rows]),
        facts={
            "protocol": protocol,
            "protocol_label": label,
            "protocol_version": version,
            "protocol_digest": digest,
            "way": way,
            "resolution": resolution,
        },
        remarks=(*map(printable, training_remarks(rows)), *image_remarks(runs, collection)),
    )


def mean_words(folds: int) -> str:
    """What a table's mean is, for its caption."""
    if folds == 1:
        return "The protocol has one fold, whose score is the mean."
    over = "both folds" if folds == 2 else f"all {folds} folds"
    return f"The mean is over {over} of the protocol; it is left out where a fold is missing."


def training_remarks(rows: Sequence[Row]) -> list[str]:
    """A remark where the rows of a table were not trained alike."""
    lines = [line[0].upper() + line[1:] for line in differences_of_training(rows)]
    return [f"Rows compare methods together with their trainings. {'. '.join(lines)}."] if lines else []


def _columns(shot: int, metric: Metric, folds: Sequence[int]) -> list[Column]:
    head = f"{shot}-shot"
    columns = [Column((head, f"fold {f}"), {"shot": shot, "fold": f, "metric": metric}) for f in folds]
    columns.append(Column((head, "mean"), {"shot": shot, "fold": "mean", "metric": metric}))
    if metric == "mean":
        columns.append(Column((head, "binary"), {"shot": shot, "fold": "mean", "metric": "binary"}))
    return columns


def _label_cells(row: Row, variants: bool) -> list[Cell]:
    texts = [row.method, row.backbone, *([row.variant] if variants else [])]
    return [Cell(printable(text)) for text in texts]


def _cells(runs: Runs, metric: Metric, cells: MeasuredCells, folds: Sequence[int]) -> list[Cell]:
    made = [cells.fold(runs, fold, metric) for fold in folds]
    made.append(cells.mean(runs, metric))
    if metric == "mean":
        made.append(cells.mean(runs, "binary"))
    return made


def unfinished_table(collection: Collection) -> Table | None:
    """The runs that make no number yet, with their status; None when there are none."""
    if not collection.unfinished:
        return None
    caption = "These runs are not done and enter no number. The same command again goes on where they stopped."
    return listing("unfinished", "Unfinished runs", caption, collection.unfinished, collection)


def listing(name: str, title: str, caption: str, runs: Iterable[StoredRun], collection: Collection) -> Table:
    """One row a run: what it is, its status and its folder."""
    heads = ("protocol", "method", "backbone", "way", "shot", "fold", "seed", "status", "record")
    rows = []
    for run in runs:
        values = [getattr(run.settings, key) for key in ("protocol_label", *heads[1:7])]
        reason = run.info.reason if run.status == "failed" else None
        status = f"{run.status}: {reason}" if reason else run.status
        rows.append(tuple(Cell(printable(str(v))) for v in (*values, status, collection.path(run))))
    return Table(name, title, caption, tuple(Column((head,)) for head in heads), len(heads), tuple(rows))
