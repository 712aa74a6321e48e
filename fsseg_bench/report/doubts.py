"""What to say of a paper's numbers: what is wrong in print, what no table shows, and names that may be misspelt."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable

from fsseg_bench.registry import method_names
from fsseg_bench.report.papers import Paper, PaperTable
from fsseg_bench.report.published import Erratum, PublishedNumber, mean_note
from fsseg_bench.report.words import metric_name

_ORDER = ("protocol", "metric", "way", "shot", "fold")
_NEAR = 0.85
_NEVER = ("protocol", "way")
"""Columns for which a number may be in no table: numbers of 2-way episodes and of protocols without a table are kept
for the record."""


def paper_doubts(paper: Paper) -> list[str]:
    """All that ``list tables`` says of a paper."""
    return [*_unplaced_words(paper, _unplaced(paper)), *_names(paper, paper.numbers)]


def table_doubts(table: PaperTable) -> list[str]:
    """What stands under a table: numbers that may have been meant for it, and names of its rows."""
    found = [
        (n, near, column, allowed)
        for n, near, column, allowed in _unplaced(table.paper)
        if near.name == table.name and column not in _NEVER and getattr(n, column) is not None
    ]
    return [*_unplaced_words(table.paper, found), *_names(table.paper, table.numbers)]


_Unplaced = tuple[PublishedNumber, PaperTable, str, str]
"""A number without a table, the table that it nearly fits, the column that keeps it out, and what is allowed there."""


def _unplaced(paper: Paper) -> list[_Unplaced]:
    found: list[_Unplaced] = []
    for number in paper.numbers:
        wrong = [(table, table.lacks(number)) for table in paper.tables if number.table in {"", table.name}]
        lacking = [(number, table, *lack) for table, lack in wrong if lack]
        if lacking and len(lacking) == len(wrong):
            found.append(max(lacking, key=lambda entry: _ORDER.index(entry[2])))
    return found


def _unplaced_words(paper: Paper, found: Iterable[_Unplaced]) -> list[str]:
    found = list(found)
    if not found:
        return []
    reasons = dict.fromkeys(_reason(*entry) for entry in found)
    numbers = f"{len(found)} numbers stand" if len(found) > 1 else "1 number stands"
    return [f"{paper.name}/numbers.csv: {numbers} in no table ({'; '.join(reasons)})."]


def _reason(number: PublishedNumber, table: PaperTable, column: str, allowed: str) -> str:
    value = getattr(number, column)
    shown = f"{column} {'unstated' if value is None else value}"
    return shown if column in _NEVER or value is None else f"{shown}, where table {table.name} has {allowed}"


def _names(paper: Paper, numbers: Iterable[PublishedNumber]) -> list[str]:
    """Names that are nearly those of methods here. Others may be methods that are installed elsewhere."""
    known = method_names()
    first: dict[str, PublishedNumber] = {}
    for number in numbers:
        if number.name and number.name not in known:
            first.setdefault(number.name, number)
    lines = []
    for name, number in first.items():
        if near := difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
            place = f"{paper.name}/numbers.csv: {number.where.rpartition(': ')[2]}, column name"
            lines.append(f"{place}: no method here is called {name!r}. Did you mean {near[0]!r}?")
    return lines


def errata_words(paper: Paper) -> list[str]:
    """The errata of the paper's tables."""
    return [f"{_concerned(erratum, paper)}: {erratum.text}" for erratum in paper.errata]


def _concerned(erratum: Erratum, paper: Paper) -> str:
    table = next((table.heading for table in paper.tables if table.name == erratum.table), paper.said.title)
    parts = [table, erratum.protocol, erratum.method, erratum.backbone]
    parts += [f"{erratum.shot}-shot" if erratum.shot else None, metric_name(erratum.metric) if erratum.metric else None]
    fold = erratum.fold
    parts.append(None if fold is None else "mean over folds" if fold == "mean" else f"fold {fold}")
    return ", ".join(filter(None, parts))


def means_words(paper: Paper) -> list[str]:
    """Each printed mean that is not the mean of its folds."""
    headings = {table.name: table.heading for table in paper.tables}
    rows: dict[tuple[object, ...], list[PublishedNumber]] = defaultdict(list)
    for n in paper.numbers:
        rows[n.table, n.source, n.protocol, n.method, n.backbone, n.way, n.shot, n.metric, n.multi_scale].append(n)
    items = []
    for row in rows.values():
        folds = [number for number in row if number.fold != "mean"]
        for number in row:
            if number.fold == "mean" and (note := mean_note(number, folds, len(paper.folds[number.protocol]))):
                where = headings.get(number.table, number.source)
                words = f"{where}, {number.protocol}, {number.method}, {number.backbone}, {number.shot}-shot"
                items.append(f"{words}, {metric_name(number.metric)}: {note}")
    return items
