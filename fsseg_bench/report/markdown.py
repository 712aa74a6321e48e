"""Tables as Markdown."""

from __future__ import annotations

from tabulate import tabulate

from fsseg_bench.report.model import Cell, Table, printable

_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]#|~$^"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_SIGNS = ("", "**", "*")
_RANKS = "Bold: highest of its column and backbone, italic: second; no test of significance."


def escape(text: str) -> str:
    """``text`` as it is, whatever Markdown, HTML or maths signs it has."""
    return printable(text).translate(_ESCAPES)


def to_markdown(table: Table) -> str:
    """A heading, a pipe table, the caption, remarks and footnotes; ends with a newline."""
    rows = [[_cell(cell, table) for cell in row] for row in table.rows]
    align = ["left"] * table.labels + ["right"] * (len(table.columns) - table.labels)
    grid = tabulate(
        rows,
        headers=[escape(column.title) for column in table.columns],
        tablefmt="pipe",
        colalign=align if rows else None,
        disable_numparse=True,
    )
    parts = [f"### {escape(table.title)}", grid, escape(table.caption) + (f" {_RANKS}" if table.ranked else "")]
    parts += [escape(remark) for remark in table.remarks]
    if table.footnotes:
        parts.append("\n".join(f"- ({mark}) {escape(note)}" for note, mark in table.footnotes.items()))
    return "\n\n".join(parts) + "\n"


def _cell(cell: Cell, table: Table) -> str:
    mark = f" ({table.footnotes[cell.note]})" if cell.note else ""
    value, plus_minus, spread = escape(cell.text).partition(" ± ")
    return f"{_SIGNS[cell.rank]}{value}{_SIGNS[cell.rank]}{plus_minus}{spread}{mark}"
