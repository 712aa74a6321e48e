r"""Tables as LaTeX with booktabs, and one macro a number, so that prose cites numbers that are updated with the tables.

``\fsseg{table-1/ResNet-50/BiOpt/1-shot/mean/published}`` gives 56.85; a name that does not exist is an error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby

from fsseg_bench.report.model import Cell, Column, Table, printable

_ESCAPES = str.maketrans(
    {c: f"\\{c}" for c in "#$%&_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after a line break, a bare bracket or star would be an argument
        "*": "{*}",
        "±": r"$\pm$",
        "†": r"\textdagger{}",
        "\N{REPLACEMENT CHARACTER}": "?",
    }
)


def escape(text: str) -> str:
    """``text`` as it is, whatever LaTeX signs it has."""
    return printable(text).translate(_ESCAPES)


PACKAGES = ("booktabs", "graphicx")
"""What a document needs. With multirow, too, headings of several rows stand in the middle of them."""

_RANKED = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
_RANKS = "Bold: highest of its column and backbone, underlined: second; no test of significance."


def to_latex(table: Table) -> str:
    """A ``table`` environment; needs the packages of :data:`PACKAGES`. Ends with a newline."""
    spec = "l" * table.labels + "r" * (len(table.columns) - table.labels)
    ranks = f" {_RANKS}" if table.ranked else ""
    lines = [
        "% needs " + ", ".join(rf"\usepackage{{{name}}}" for name in PACKAGES),
        r"\begin{table}",
        r"\providecommand{\multirow}[3]{#3}",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.caption)}{ranks}}}",
        rf"\label{{tab:{_label(table.name)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        *_head(table.columns),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}}",
        *_notes(table),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _label(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name)


def _head(columns: Sequence[Column]) -> list[str]:
    """One line a level of headings; neighbours that are equal down to a level above the last share a rule."""
    lines = []
    depth = len(columns[0].head)
    for level in range(depth):
        if level == depth - 1:
            lines.append(" & ".join(escape(column.head[level]) for column in columns) + r" \\")
            continue
        cells, rules, start = [], [], 1
        for above, same in groupby(column.head[: level + 1] for column in columns):
            text, span = above[-1], len(list(same))
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(text)}}}")
            if text:
                rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
            start += span
        lines += [" & ".join(cells) + r" \\", *([" ".join(rules)] if rules else [])]
    return lines


def _body(table: Table) -> list[str]:
    """One line a row; equal headings of merged columns become one cell over several rows, with a rule before it."""
    merged = [i for i, column in enumerate(table.columns) if column.merge]
    lines = []
    for r, row in enumerate(table.rows):
        changed = [i for i in merged if table.spans[r, i]]
        if changed and r:
            lines += _rule(changed[0], merged[-1], len(row))
        lines.append(
            " & ".join(_spanning(cell, table, table.spans.get((r, i), 1)) for i, cell in enumerate(row)) + r" \\"
        )
    return lines


def _spanning(cell: Cell, table: Table, rows: int) -> str:
    text = _cell(cell, table) if rows else ""
    return rf"\multirow{{{rows}}}{{*}}{{{text}}}" if rows > 1 else text


def _rule(changed: int, innermost: int, columns: int) -> list[str]:
    """What stands before a row whose first new heading is in column ``changed``."""
    if changed == 0:
        return [r"\midrule"]
    if changed < innermost:
        return [rf"\cmidrule(l){{{changed + 1}-{columns}}}"]
    return [r"\addlinespace[2pt]"]


def _cell(cell: Cell, table: Table) -> str:
    mark = rf"\textsuperscript{{{table.footnotes[cell.note]}}}" if cell.note else ""
    value, plus_minus, spread = cell.text.partition(" ± ")
    return _RANKED[cell.rank].format(escape(value)) + escape(plus_minus + spread) + mark


def _notes(table: Table) -> list[str]:
    notes = [rf"\textsuperscript{{{mark}}}\,{escape(note)}" for note, mark in table.footnotes.items()]
    texts = [*map(escape, table.remarks), *(["; ".join(notes)] if notes else [])]
    return [rf"\par\smallskip\footnotesize {text}" for text in texts]


_MACROS = r"""% Numbers for \input; \fsseg{NAME} prints one. Made by fsseg-bench with --macros.
\makeatletter
\providecommand{\fsseg}[1]{\@ifundefined{fsseg@#1}%
  {\PackageError{fsseg}{unknown number #1}{It is not in this report.}}{\csname fsseg@#1\endcsname}}
"""


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
    return _MACROS + "".join(lines) + "\\makeatother\n"


def _name(table: Table, row: tuple[Cell, ...], column: int) -> str:
    labels = (cell.text for cell in row[: table.labels])
    parts = (table.name, *labels, *table.columns[column].head)
    return "/".join(_plain(part) for part in parts if part)


def _plain(text: str) -> str:
    """Signs that are safe in a control sequence's name."""
    ascii_text = unicodedata.normalize("NFKD", text.replace("†", "+")).encode("ascii", "replace").decode()
    return "".join(c if c.isalnum() or c in ".+=@,-" else "-" for c in ascii_text)
