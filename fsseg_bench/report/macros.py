r"""One LaTeX macro a number, so that prose cites numbers that are updated with the tables.

``\fsseg{table-1/ResNet-50/BiOpt/1-shot/mean/published}`` gives 56.85; a name that does not exist is an error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from fsseg_bench.report.latex import escape
from fsseg_bench.report.model import Cell, Table

_HEAD = r"""% Numbers for \input; \fsseg{NAME} prints one. Made by fsseg-bench report --macros.
\makeatletter
\providecommand{\fsseg}[1]{\@ifundefined{fsseg@#1}%
  {\PackageError{fsseg}{unknown number #1}{It is not in this report.}}{\csname fsseg@#1\endcsname}}
"""
_TAIL = "\\makeatother\n"


def to_macros(tables: Iterable[Table]) -> str:
    """The definitions; a file for LaTeX's ``\\input``.

    A name is made of the table's name, the row's labels and the column's headings; what is neither a letter, a
    digit nor one of ``.+=@,-`` becomes a hyphen. Equal names get ``/2``, ``/3``, ... in reading order.
    """
    lines = []
    used: dict[str, int] = {}
    for table in tables:
        for row in table.rows:
            for i in range(table.labels, len(table.columns)):
                name = _name(table, row, i)
                used[name] = used.get(name, 0) + 1
                unique = name if used[name] == 1 else f"{name}/{used[name]}"
                lines.append(rf"\@namedef{{fsseg@{unique}}}{{{escape(row[i].text)}}}" + "\n")
    return _HEAD + "".join(lines) + _TAIL


def _name(table: Table, row: tuple[Cell, ...], column: int) -> str:
    labels = (cell.text for cell in row[: table.labels])
    parts = (table.name, *labels, *table.columns[column].head)
    return "/".join(_plain(part) for part in parts if part)


def _plain(text: str) -> str:
    """Signs that are safe in a control sequence's name."""
    ascii_text = unicodedata.normalize("NFKD", text.replace("†", "+")).encode("ascii", "replace").decode()
    return "".join(c if c.isalnum() or c in ".+=@,-" else "-" for c in ascii_text)
