"""What is wrong with the numbers in print."""

from __future__ import annotations

from collections import defaultdict

from fsseg_bench.report.html.text import escape
from fsseg_bench.report.published import Erratum, PublishedNumber, errata, mean_note, published


def errata_html() -> str:
    """The errata of the BiOpt paper's tables, and each printed mean that is not the mean of its folds."""
    items = [f"{_concerned(erratum)}: {erratum.text}" for erratum in errata()] + _means()
    return "<ul>" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""


def _concerned(erratum: Erratum) -> str:
    parts = [f"Table {erratum.table}", erratum.protocol, erratum.method, erratum.backbone]
    parts += [f"{erratum.shot}-shot" if erratum.shot else None, f"{erratum.metric}-IoU" if erratum.metric else None]
    fold = erratum.fold
    parts.append(None if fold is None else "mean over folds" if fold == "mean" else f"fold {fold}")
    return ", ".join(filter(None, parts))


def _means() -> list[str]:
    rows: dict[tuple[object, ...], list[PublishedNumber]] = defaultdict(list)
    for n in published():
        rows[n.table, n.source, n.protocol, n.method, n.backbone, n.way, n.shot, n.metric, n.multi_scale].append(n)
    items = []
    for own in rows.values():
        folds = [number for number in own if number.fold != "mean"]
        for number in own:
            if number.fold == "mean" and (note := mean_note(number, folds)):
                where = f"Table {number.table}" if number.table else number.source
                words = f"{where}, {number.protocol}, {number.method}, {number.backbone}, {number.shot}-shot"
                items.append(f"{words}, {number.metric}-IoU: {note}")
    return items
