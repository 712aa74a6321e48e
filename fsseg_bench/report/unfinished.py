"""The runs that make no number yet."""

from __future__ import annotations

from fsseg_bench.report.collect import Collection
from fsseg_bench.report.model import Cell, Column, Table, printable

_HEADS = ("protocol", "method", "backbone", "way", "shot", "fold", "seed", "status", "record")
_CAPTION = "These runs are not done and enter no number. The same command again goes on where they stopped."


def unfinished_table(collection: Collection) -> Table | None:
    """One row a run: what it is, its status and its folder; None when there are none."""
    rows = []
    for run in collection.unfinished:
        values = [getattr(run.settings, key) for key in ("protocol_label", *_HEADS[1:7])]
        reason = run.info.reason if run.status == "failed" else None
        status = f"{run.status}: {reason}" if reason else run.status
        rows.append(tuple(Cell(printable(str(v))) for v in (*values, status, collection.path(run))))
    columns = tuple(Column((head,)) for head in _HEADS)
    return Table("unfinished", "Unfinished runs", _CAPTION, columns, len(columns), tuple(rows)) if rows else None
