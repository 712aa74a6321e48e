"""The IoU of each class as dot plots, with the table behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from fsseg_bench.report.html.dots import Mark, Palette, Scale, axis, key, row
from fsseg_bench.report.html.page import escape, folded
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.html.tables import table_body
from fsseg_bench.report.html.words import number
from fsseg_bench.report.model import Column, Table

_MOST = 6  # series that a reader still tells apart


def classes_html(tables: Sequence[Table], runs: Mapping[str, ShownRun], palette: Palette) -> str:
    """One foldable part for each table of :func:`fsseg_bench.report.table.class_tables`; the first is open."""
    return "\n".join(
        folded(escape(table.title), _plots(table, palette) + _numbers(table, runs), opened=i == 0)
        for i, table in enumerate(tables)
    )


def _numbers(table: Table, runs: Mapping[str, ShownRun]) -> str:
    return folded("The numbers", table_body(table, runs))


def _plots(table: Table, palette: Palette) -> str:
    by_backbone: dict[str, list[int]] = defaultdict(list)
    for i, column in enumerate(table.columns):
        if i >= table.labels:
            by_backbone[str(column.facts["backbone"])].append(i)
    return "".join(_plot(table, backbone, places, palette) for backbone, places in by_backbone.items())


def _plot(table: Table, backbone: str, places: Sequence[int], palette: Palette) -> str:
    means = {i: fmean(values) for i in places if (values := _values(table, i))}
    kept = sorted(sorted(means, key=lambda i: -means[i])[:_MOST])
    if not kept:
        return ""
    series = {i: _series(table.columns[i], palette) for i in kept}
    scale = Scale.around(
        end for i in kept for r in table.rows for end in (r[i].value, r[i].low, r[i].high) if end is not None
    )
    items = []
    for fold, lines in groupby(table.rows, key=lambda line: line[0].text):
        items.append(f'<li class="fold">{escape(fold)}</li>')
        for line in lines:
            cells = [(i, line[i]) for i in kept if line[i].value is not None]
            marks = [Mark(cell.value or 0.0, cell.low, cell.high, series[i]) for i, cell in cells]
            said = ", ".join(f"{_name(table.columns[i])} {number(cell.value or 0.0)}" for i, cell in cells)
            items.append(
                f'<li><span class="name">{escape(line[1].text)}</span><span class="plot">{row(scale, marks)}</span>'
                f'<span class="hidden">{escape(said)}</span></li>'
            )
    left = len(means) - len(kept)
    some = (
        f'<p class="caption">The {len(kept)} highest of {len(means)} rows; the numbers below have all.</p>'
        if left
        else ""
    )
    names = [(_name(table.columns[i]), series[i]) for i in kept]
    return (
        f'<div class="classes"><h3>{escape(backbone)}</h3>{key(names)}{some}<ul class="rank">{"".join(items)}'
        f'<li class="scale"><span class="plot">{axis(scale, "IoU, percent, with 95 % intervals")}</span></li>'
        "</ul></div>"
    )


def _values(table: Table, column: int) -> list[float]:
    return [value for line in table.rows if (value := line[column].value) is not None]


def _series(column: Column, palette: Palette) -> int:
    return palette.series(str(column.facts["method"]), str(column.facts["settings"]))


def _name(column: Column) -> str:
    return column.head[-1]
