r"""Tables as LaTeX with booktabs, and one macro a number, so that prose cites numbers that are updated with the tables.

``\fsseg{table-1/ResNet-50/BiOpt/1-shot/mean/published}`` gives 56.85; a name that does not exist is an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby

from fsseg_bench.report.latex_page import COLUMN, SEPARATION, Setting, on_pages, width_of, wraps
from fsseg_bench.report.model import RANKS, Cell, Column, Table, printable

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


PACKAGES = ("booktabs",)
"""What a document needs. With multirow, too, headings of several rows stand in the middle of them."""

_RANKED = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
_BREAKS = re.compile(r"[+/](?=\w)")
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def to_latex(table: Table) -> str:
    """``table`` environments that fit a page; they need the packages of :data:`PACKAGES`. Ends with a newline.

    A table that is too wide or too long for one page is parted; nothing is scaled. One that is wider than a column of
    a two-column paper is a ``table*``.
    """
    parts = on_pages(table)
    first = _label(parts[0][0].name)
    return "\n".join(
        _environment(part, setting, table.remarks, "" if i == 0 else first) for i, (part, setting) in enumerate(parts)
    )


def _environment(table: Table, setting: Setting, remarks: Sequence[str], first: str) -> str:
    """One part; ``first``: the label of the part that has the remarks, empty for this one."""
    kind = "table*" if width_of(table, setting) > COLUMN else "table"
    ranks = RANKS.format(second="underlined") if table.ranked else ""
    caption = " ".join(filter(None, (f"{table.title}.", table.caption, ranks)))
    said = (
        [rf"The notes of Table~\ref{{tab:{first}}} hold here, too."]
        if first and remarks
        else list(map(escape, remarks))
    )
    lines = [
        "% needs " + ", ".join(rf"\usepackage{{{name}}}" for name in PACKAGES),
        rf"\begin{{{kind}}}",
        *([r"\providecommand{\multirow}[3]{#3}"] if any(column.merge for column in table.columns) else []),
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{_label(table.name)}}}\par\smallskip",
        rf"{setting.size}\setlength{{\tabcolsep}}{{{SEPARATION:g}pt}}",
        rf"\begin{{tabular}}{{@{{}}{'l' * table.labels}{'r' * (len(table.columns) - table.labels)}@{{}}}}",
        r"\toprule",
        *_head(table.columns),
        r"\midrule",
        *_body(table, setting),
        r"\bottomrule",
        r"\end{tabular}",
        *_notes(table, said),
        rf"\end{{{kind}}}",
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
            lines.append(" & ".join(map(_innermost, columns)) + r" \\")
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


def _innermost(column: Column) -> str:
    lines = list(map(escape, column.lines))
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else lines[0]


def _body(table: Table, setting: Setting) -> list[str]:
    """One line a row; equal headings of merged columns become one cell over several rows, with a rule before it."""
    merged = sorted({i for (_, i), span in table.spans.items() if span > 1})
    lines = []
    for r, row in enumerate(table.rows):
        changed = [i for i in merged if table.spans[r, i]]
        if changed and r:
            lines += _rule(changed[0], merged[-1], len(row))
        texts = [
            _label_cell(cell, table, setting, table.spans.get((r, i), 1)) if i < table.labels else _cell(cell, table)
            for i, cell in enumerate(row)
        ]
        lines.append(" & ".join(texts) + r" \\")
    return lines


def _label_cell(cell: Cell, table: Table, setting: Setting, rows: int) -> str:
    """A label over so many ``rows``, wrapped where it is long; 0: it began before."""
    if not rows:
        return ""
    text = _cell(cell, table)
    if wraps(cell, table, setting):
        text = _BREAKS.sub(r"\g<0>\\allowbreak{}", text)
        return rf"\parbox[t]{{{setting.label:g}pt}}{{\raggedright {text}}}"
    return rf"\multirow{{{rows}}}{{*}}{{{text}}}" if rows > 1 else text


def _rule(changed: int, innermost: int, columns: int) -> list[str]:
    """What stands before a row whose first new heading is in column ``changed``."""
    if changed == 0:
        return [r"\midrule"]
    if changed < innermost:
        return [rf"\cmidrule(l){{{changed + 1}-{columns}}}"]
    return [r"\addlinespace[2pt]"]


def _cell(cell: Cell, table: Table) -> str:
    mark = rf"\textsuperscript{{{table.mark(cell)}}}" if cell.notes else ""
    value, plus_minus, spread = cell.text.partition(" ± ")
    text = _RANKED[cell.rank].format(_number(value) if _is_number(cell) else escape(value))
    return text + (rf"\,{{\scriptsize$\pm${escape(spread)}}}" if plus_minus else "") + mark


def _is_number(cell: Cell) -> bool:
    return cell.value is not None or cell.low is not None


def _number(text: str) -> str:
    """A number with signs of mathematics."""
    return _MINUS.sub("$-$", escape(text)).replace(r"\textless{}", "$<$")


def _notes(table: Table, remarks: Sequence[str]) -> list[str]:
    notes = [rf"\textsuperscript{{{mark}}}\,{escape(note)}" for note, mark in table.footnotes.items()]
    texts = [*remarks, *(["; ".join(notes)] if notes else [])]
    if not texts:
        return []
    return [
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(rf"{text}\par" for text in texts),
        r"\end{minipage}",
    ]


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
                text = _number(row[i].text) if _is_number(row[i]) else escape(row[i].text)
                lines.append(rf"\@namedef{{fsseg@{unique}}}{{{text}}}" + "\n")
    return _MACROS + "".join(lines) + "\\makeatother\n"


def _name(table: Table, row: tuple[Cell, ...], column: int) -> str:
    labels = (cell.text for cell in row[: table.labels])
    parts = (table.name, *labels, *table.columns[column].head)
    return "/".join(_plain(part) for part in parts if part)


def _plain(text: str) -> str:
    """Signs that are safe in a control sequence's name."""
    ascii_text = unicodedata.normalize("NFKD", text.replace("†", "+")).encode("ascii", "replace").decode()
    return "".join(c if c.isalnum() or c in ".+=@,-" else "-" for c in ascii_text)
