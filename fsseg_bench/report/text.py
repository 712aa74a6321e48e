"""Tables as text: Markdown for people, long CSV and JSON for machines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from fsseg_bench.report.model import MISSING, RANKS, Cell, Table, printable

_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]#|~$^"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_SIGNS = ("", "**", "*")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ± \d+(\.\d+)?)?( %)?")
_CELL_KEYS = ("value", "low", "high", "text", "rank", "note", "source", "runs")


def escape(text: str) -> str:
    """``text`` as it is, whatever Markdown, HTML or maths signs it has."""
    return printable(text).translate(_ESCAPES).replace("&lt; ", "< ")  # before a space it begins no tag


def to_markdown(table: Table) -> str:
    """A heading, a pipe table, the caption, and a list of remarks and footnotes; ends with a newline."""
    rows = [[_cell(cell, table) for cell in row] for row in table.rows]
    align = ["left"] * table.labels + ["right"] * (len(table.columns) - table.labels)
    grid = tabulate(
        rows,
        headers=[escape(column.title) for column in table.columns],
        tablefmt="pipe",
        colalign=align if rows else None,
        disable_numparse=True,
    )
    ranks = RANKS.format(second="italic") if table.ranked else ""
    caption = " ".join(filter(None, (escape(table.caption), ranks)))
    notes = [f"- {escape(remark)}" for remark in table.remarks]
    notes += [f"- ({mark}) {escape(note)}" for note, mark in table.footnotes.items()]
    parts = (f"### {escape(table.title)}", grid, caption, "\n".join(notes))
    return "\n\n".join(filter(None, parts)) + "\n"


def _cell(cell: Cell, table: Table) -> str:
    mark = f" ({table.mark(cell)})" if cell.notes else ""
    value, plus_minus, spread = escape(cell.text).partition(" ± ")
    return f"{_SIGNS[cell.rank]}{value}{_SIGNS[cell.rank]}{plus_minus}{spread}{mark}"


def to_csv(tables: Sequence[Table]) -> str:
    """One line a number, with a header; several tables share the file.

    Columns: ``table``; what the tables and their columns are about (``protocol``, ``way``, ``shot``, ``fold``,
    ...); what names a row (``method``, ``backbone``, ...); what was seen for the number (``supervision``, ...,
    ``seen_source``); ``value``, ``low``, ``high`` (unrounded, in the
    table's unit, empty where missing), ``text``, ``rank`` (1 best, 2 second, 0 neither), ``note``, ``source`` (of a
    published number), ``runs`` (folders separated by ``;``). Text that a spreadsheet would take for a formula (it
    begins with ``=``, ``+``, ``-`` or ``@`` and is no number) has an apostrophe before it.
    """
    rows = [row for table in tables for row in _long(table)]
    keys = dict.fromkeys(key for row in rows for key in row if key not in _CELL_KEYS)
    out = io.StringIO()
    writer = csv.DictWriter(out, ["table", *(k for k in keys if k != "table"), *_CELL_KEYS], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    """``value`` as no spreadsheet takes it for a formula: with an apostrophe before text that begins like one."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or value == MISSING or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def _long(table: Table) -> list[dict[str, Any]]:
    """The numbers of a table, one mapping each; of a table without numbers, one a row."""
    heads = [column.head[-1] for column in table.columns[: table.labels]]
    rows: list[dict[str, Any]] = []
    for row in table.rows:
        names = dict(zip(heads, (cell.text for cell in row[: table.labels]), strict=True))
        about = {"table": table.name, **table.facts, **names}
        if table.labels == len(table.columns):
            rows.append(about)
        for column, cell in zip(table.columns[table.labels :], row[table.labels :], strict=True):
            cells = {key: getattr(cell, key) for key in _CELL_KEYS}
            rows.append({**about, **column.facts, **(cell.seen or {}), **cells, "runs": ";".join(cell.runs)})
    return rows


def to_json(tables: Sequence[Table], warnings: Sequence[str] = (), unfinished: Table | None = None) -> str:
    """The tables with every field of every cell, the runs that are not finished, and what was skipped.

    Ends with a newline.
    """
    document = {
        "schema": 2,
        "tables": [_plain(table) for table in tables],
        "unfinished": _long(unfinished) if unfinished else [],
        "skipped": list(warnings),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(table: Table) -> Mapping[str, Any]:
    return {
        **{key: getattr(table, key) for key in ("name", "title", "caption", "remarks")},
        "facts": dict(table.facts),
        "labels": table.labels,
        "columns": [{"head": list(column.head), "facts": dict(column.facts)} for column in table.columns],
        "rows": [[asdict(cell) for cell in row] for row in table.rows],
    }
