"""Reads the numbers of one row back from each rendering of a table."""

from __future__ import annotations

import csv
import io
import json
import re

from fsseg_bench.report.html.tables import table_html
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.model import Table
from fsseg_bench.report.text import to_csv, to_json, to_markdown


def texts(table: Table) -> list[list[str]]:
    """What every cell says, row by row."""
    return [[cell.text for cell in row] for row in table.rows]


def in_markdown(table: Table, labels: tuple[str, ...]) -> list[str]:
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in to_markdown(table).splitlines() if "|" in line]
    (row,) = [r for r in rows if tuple(re.sub(r" \([a-z,]+\)$", "", c) for c in r[: len(labels)]) == labels]
    return [re.sub(r"[*]| \([\w,]+\)", "", cell) for cell in row[len(labels) :]]


def in_latex(table: Table, labels: tuple[str, ...]) -> list[str]:
    """Follows headings that span rows down to the row wanted, in each part of the table."""
    found: list[str] = []
    for part in to_latex(table).split(r"\begin{tabular}")[1:]:
        found += _in_latex_part(part, labels)
    return found


def _in_latex_part(part: str, labels: tuple[str, ...]) -> list[str]:
    above = [""] * len(labels)
    for line in part.splitlines():
        cells = [c.strip() for c in line.removesuffix(r"\\").split(" & ")]
        if len(cells) <= len(labels) or "multicolumn" in line:
            continue
        own = [re.sub(r"\\textsuperscript\{[\w,]+\}|\\multirow\{\d+\}\{\*\}|[{}]", "", c) for c in cells[: len(labels)]]
        above = [new or old for new, old in zip(own, above, strict=True)]
        if tuple(a.replace("\\textdagger", "†") for a in above) == labels:
            return [
                re.sub(r"\\textsuperscript\{[\w,]+\}|\\textbf|\\underline|[{}]", "", c) for c in cells[len(labels) :]
            ]
    return []


def in_html(table: Table, labels: tuple[str, ...]) -> list[str]:
    """Follows headings that span rows; leaves out what opens on a touch."""
    below: dict[int, tuple[int, str]] = {}
    for row in re.findall(r"<tr>(.*?)</tr>", table_html(table), re.DOTALL):
        cells = [below[i][1] if i in below else "" for i in range(len(table.columns))]
        free = iter([i for i in range(len(cells)) if i not in below])
        below = {i: (left - 1, text) for i, (left, text) in below.items() if left > 1}
        for attributes, inner in re.findall(r"<t[dh]\b([^>]*)>(.*?)</t[dh]>", row, re.DOTALL):
            if "colspan" in attributes:
                break
            i = next(free)
            cells[i] = re.sub(r"<sup>.*?</sup>|<.*?>", "", inner.partition('<span class="tip"')[0])
            if span := re.search(r'rowspan="(\d+)"', attributes):
                below[i] = (int(span[1]) - 1, cells[i])
        if tuple(cells[: len(labels)]) == labels:
            return cells[len(labels) :]
    return []


def in_csv(table: Table, labels: tuple[str, ...]) -> list[str]:
    heads = [column.head[-1] for column in table.columns[: table.labels]]
    rows = [r for r in csv.DictReader(io.StringIO(to_csv([table]))) if tuple(r[h] for h in heads) == labels]
    assert all(float(row["value"]) == float(row["text"]) for row in rows)
    return [row["text"] for row in rows]


def in_json(table: Table, labels: tuple[str, ...]) -> list[str]:
    rows = json.loads(to_json([table]))["tables"][0]["rows"]
    (row,) = [r for r in rows if tuple(c["text"] for c in r[: len(labels)]) == labels]
    return [cell["text"] for cell in row[len(labels) :]]


def said(table: Table) -> str:
    """What a table says in words: its caption and its remarks."""
    return " ".join((table.caption, *table.remarks))
