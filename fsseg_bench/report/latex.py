"""Tables as LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence
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


def to_latex(table: Table) -> str:
    """A ``table`` environment; needs the packages booktabs and graphicx. Ends with a newline."""
    spec = "l" * table.labels + "r" * (len(table.columns) - table.labels)
    body = [" & ".join(_cell(cell, table) for cell in row) + r" \\" for row in table.rows]
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
        rf"\label{{tab:{_label(table.name)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        *_head(table.columns),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        *_notes(table),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _label(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name)


def _head(columns: Sequence[Column]) -> list[str]:
    """One line a level of headings; equal neighbours above the last level share a rule."""
    lines = []
    depth = max(len(column.head) for column in columns)
    for level in range(depth):
        heads = [column.head[level] if level < len(column.head) else "" for column in columns]
        if level == depth - 1:
            lines.append(" & ".join(map(escape, heads)) + r" \\")
            continue
        cells, rules, start = [], [], 1
        for text, same in groupby(heads):
            span = len(list(same))
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(text)}}}")
            if text:
                rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
            start += span
        lines += [" & ".join(cells) + r" \\", *([" ".join(rules)] if rules else [])]
    return lines


def _cell(cell: Cell, table: Table) -> str:
    mark = rf"\textsuperscript{{{table.footnotes[cell.note]}}}" if cell.note else ""
    return escape(cell.text) + mark


def _notes(table: Table) -> list[str]:
    if not table.footnotes:
        return []
    notes = (rf"\textsuperscript{{{mark}}}\,{escape(note)}" for note, mark in table.footnotes.items())
    return [r"\par\smallskip\footnotesize " + "; ".join(notes)]
