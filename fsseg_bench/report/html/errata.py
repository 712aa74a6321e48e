"""What is wrong with the numbers in print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fsseg_bench.report.html.text import escape
from fsseg_bench.report.papers import Paper
from fsseg_bench.report.published import Erratum, PublishedNumber, mean_note


def errata_html(papers: Iterable[Paper]) -> str:
    """The errata of the papers' tables, and each printed mean that is not the mean of its folds."""
    papers = list(papers)
    items = [f"{_concerned(erratum, paper)}: {erratum.text}" for paper in papers for erratum in paper.errata]
    items += [item for paper in papers for item in _means(paper)]
    return "<ul>" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""


def _concerned(erratum: Erratum, paper: Paper) -> str:
    table = next((table.heading for table in paper.tables if table.name == erratum.table), paper.title)
    parts = [table, erratum.protocol, erratum.method, erratum.backbone]
    parts += [f"{erratum.shot}-shot" if erratum.shot else None, f"{erratum.metric}-IoU" if erratum.metric else None]
    fold = erratum.fold
    parts.append(None if fold is None else "mean over folds" if fold == "mean" else f"fold {fold}")
    return ", ".join(filter(None, parts))


def _means(paper: Paper) -> list[str]:
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
                items.append(f"{words}, {number.metric}-IoU: {note}")
    return items
