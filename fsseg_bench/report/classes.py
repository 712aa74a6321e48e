"""IoU of each held-out class, method beside method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fsseg_bench.protocol.scoring import class_iou
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.report.cells import number
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.image_words import episodes_words, image_remarks, spread_words
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.rows import Row, group_rows
from fsseg_bench.report.table import SIZES

_Key = tuple[str, str, int, str, int, int]
_OneClass = tuple[int, int]
"""Fold and label value."""
_RunClass = tuple[Path, int]
"""A run's folder and a label value."""


def class_tables(
    collection: Collection, resolution: Resolution | None = None, protocols: Sequence[str] | None = None
) -> tuple[Table, ...]:
    """A table for each protocol, number of ways and shot: a row a class, a column for each row of the runs' tables.

    Args:
        collection: the runs.
        resolution: where pixels are counted; None takes each protocol's headline.
        protocols: only those of these names; None: all.
    """
    groups: dict[_Key, list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        s = run.record.settings
        if protocols is None or s.protocol in protocols:
            groups[*s.rules, s.shot].append(run)
    return tuple(_table(key, runs, collection, resolution) for key, runs in sorted(groups.items()))


def _table(key: _Key, runs: Sequence[ScoredRun], collection: Collection, chosen: Resolution | None) -> Table:
    protocol, label, version, digest, way, shot = key
    resolution: Resolution = chosen or runs[0].record.settings.headline
    rows = group_rows(runs, collection)
    cells = _cells(runs, collection, resolution)
    names = _names(runs)
    body = [
        (Cell(f"fold {fold}"), Cell(name), *(_of_row(cells, row.runs[shot].get(fold), c) for row in rows))
        for (fold, c), name in sorted(names.items())
    ]
    label = printable(label)
    return Table(
        name=f"classes-{label}-v{version}-{digest[:8]}-{way}way-{shot}shot-{resolution}",
        title=f"{label}: IoU of each class, {way}-way {shot}-shot",
        caption=(
            f"Percent, counted at {SIZES[resolution]}: the class's pixels are summed over the fold's episodes. "
            f"{episodes_words(runs, collection)}. {spread_words(collection)} "
            f"Protocol {label}, version {version}, digest {digest[:8]}."
        ),
        columns=(Column(("", "fold"), merge=True), Column(("", "class")), *(_column(row, shot) for row in rows)),
        labels=2,
        rows=tuple(body),
        remarks=image_remarks(runs, collection),
        facts={
            "protocol": printable(protocol),
            "protocol_label": label,
            "protocol_version": version,
            "protocol_digest": digest,
            "way": way,
            "resolution": resolution,
        },
    )


def _of_row(cells: Mapping[_RunClass, Cell], run: ScoredRun | None, c: int) -> Cell:
    return cells[run.record.folder, c] if run else Cell(MISSING)


def _column(row: Row, shot: int) -> Column:
    method, backbone, settings = map(printable, (row.method, row.backbone, row.variant))
    name = f"{method}; {settings}" if settings else method
    return Column((backbone, name), {"shot": shot, "method": method, "backbone": backbone, "settings": settings})


def _names(runs: Sequence[ScoredRun]) -> dict[_OneClass, str]:
    names: dict[_OneClass, str] = {}
    for run in runs:
        names |= {(run.record.fold, c): printable(run.record.settings.class_name(c)) for c in run.record.novel}
    return names


def _cells(runs: Sequence[ScoredRun], collection: Collection, resolution: Resolution) -> dict[_RunClass, Cell]:
    """The cell of each run's folder and class."""
    cells = {}
    for run, intervals in zip(runs, collection.intervals.of_classes(runs, resolution), strict=True):
        path, fold = collection.path(run.record), run.fold_counts(resolution)
        scores = class_iou(fold.confusion, fold.classes, fold.novel)
        for c, score in zip(fold.novel, scores, strict=True):
            cells[run.record.folder, c] = number(float(score), intervals[c], (path,))
    return cells
