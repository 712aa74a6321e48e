"""Which parts of a table a page of LaTeX holds, at a size of type that can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from fsseg_bench.report.model import MISSING, Cell, Table
from fsseg_bench.report.parts import by_heading, parted, with_columns, without_common_labels

SIZES = {r"\small": 9.0, r"\footnotesize": 8.0}
"""Commands for sizes of type, and what they are in points where a document has 10."""
SEPARATION = 3.0
r"""What ``\tabcolsep`` is set to, points; there are two of it between columns."""
WIDTH = 345.0
"""Of the text in LaTeX's article, points."""
COLUMN = 236.0
"""Of a column of a two-column paper."""
_HEIGHT = 490.0  # of the text, with a reserve
_CAPTION = 75.0  # three lines, headings and rules
_NOTE = 8.0  # \footnotesize
_SPREAD = 7.0  # \scriptsize
_LINE = 1.22  # heights of a line, of its size
_WIDER = {9.0: 1.03, 8.0: 1.07, 7.0: 1.14}  # small sizes of Computer Modern are wider for their height
_GROUPS = {
    "il.,:;'!|": 0.28,
    "fj": 0.31,
    " ": 0.34,
    "rst()[]": 0.39,
    "cez": 0.45,
    "ago0123456789/": 0.5,
    "kqvxy": 0.53,
    "bdhnpu": 0.56,
    "w": 0.73,
    "+-±<>=": 0.78,
    "m%": 0.84,
}
_EM = {c: width for characters, width in _GROUPS.items() for c in characters}
_OTHERS, _BOLD, _THIN = 0.74, 1.16, 0.17  # em, as of capitals; how much wider bold is; a thin space


class Setting(NamedTuple):
    """How a part is set."""

    size: str
    """The command for the size of type."""
    label: float
    """A wider label is wrapped to this width, points."""

    @property
    def points(self) -> float:
        """Of the type."""
        return SIZES[self.size]


_SETTINGS = (Setting(r"\small", 130.0), Setting(r"\footnotesize", 130.0), Setting(r"\footnotesize", 72.0))
"""From the most readable to the narrowest."""


def on_pages(table: Table) -> list[tuple[Table, Setting]]:
    """The table in parts that fit a page, each with how it is set.

    As far as it is needed, a label that all rows share goes into the title; then the table is parted by shot, and by as
    many columns as fit (where that is not enough, first by protocol or backbone, without columns that hold nothing);
    then by rows. The title and name of a part say which it is.
    """
    parts = _narrow(table)
    return [
        (short, setting)
        for i, (part, setting) in enumerate(parts)
        for short in _short(part, setting, with_remarks=i == 0)
    ]


def width_of(table: Table, setting: Setting) -> float:
    """What the table takes, points."""
    return sum(_widths(table, setting)) - 2 * SEPARATION


def wraps(cell: Cell, table: Table, setting: Setting) -> bool:
    """Whether a label is wrapped."""
    return _cell(cell, setting.points, table) > setting.label


def _narrow(table: Table, *, whole: bool = True) -> list[tuple[Table, Setting]]:
    """Parts by columns, and how they are set: as much as possible in one, as readable as possible."""
    bare = without_common_labels(table)
    most, *others = _SETTINGS
    for made, setting in ((table, most), *((bare, setting) for setting in (most, *others))):
        if width_of(made, setting) <= WIDTH or made.labels == len(made.columns):
            return [(made, setting)]
    parts = by_heading(bare)
    for setting in _SETTINGS:
        if all(width_of(part, setting) <= WIDTH for part in parts):
            return [(part, setting) for part in parts]
    if whole and len(groups := _groups(bare)) > 1:
        return [found for group in groups for found in _narrow(_without_empty(group), whole=False)]
    least = _SETTINGS[-1]
    return [(piece, least) for part in parts for piece in _by_width(part, least)]


def _groups(table: Table) -> list[Table]:
    """A part for each heading over several rows, of the outermost that there is; each names it in its title."""
    outer = next((i for i, column in enumerate(table.columns) if column.merge), None)
    if outer is None:
        return [table]
    kept = [i for i in range(len(table.columns)) if i != outer]
    made = []
    for name, rows in groupby(table.rows, key=lambda row: row[outer].text):
        part = replace(table, name=f"{table.name}-{name}", title=f"{table.title}, {name}", rows=tuple(rows))
        made.append(with_columns(part, kept))
    return made


def _without_empty(table: Table) -> Table:
    """The table without the columns that have no number in it; unless that are all."""
    kept = [
        i for i in range(len(table.columns)) if i < table.labels or any(row[i].text != MISSING for row in table.rows)
    ]
    return with_columns(table, kept) if len(kept) > table.labels else table


def _by_width(table: Table, setting: Setting) -> list[Table]:
    pieces = parted(table, _widths(table, setting), WIDTH + 2 * SEPARATION)
    return [_numbered(piece, i, len(pieces)) for i, piece in enumerate(pieces)]


def _short(table: Table, setting: Setting, *, with_remarks: bool) -> list[Table]:
    """The table by rows, parted where a heading over several rows ends if there is one."""
    outer = next((i for i, column in enumerate(table.columns) if column.merge), None)
    starts, start = [0], 0
    for row in range(1, len(table.rows)):
        whole = replace(table, rows=table.rows[start : row + 1])
        if _height(whole, setting, table.remarks if with_remarks and not start else ()) > _HEIGHT:
            begins = [r for r in range(start + 1, row + 1) if outer is not None and table.spans[r, outer]]
            start = begins[-1] if begins else row
            starts.append(start)
    ends = [*starts[1:], len(table.rows)]
    pieces = [replace(table, rows=table.rows[first:last]) for first, last in zip(starts, ends, strict=True)]
    return [_numbered(piece, i, len(pieces)) for i, piece in enumerate(pieces)]


def _height(table: Table, setting: Setting, remarks: Sequence[str]) -> float:
    """What the table takes with its caption and notes, points."""
    lines = sum(
        max(math.ceil(_cell(cell, setting.points, table) / setting.label) for cell in row[: table.labels] or row[:1])
        for row in table.rows
    )
    groups = sum(1 for span in table.spans.values() if span) / 2
    notes = [*remarks, *(["; ".join(table.footnotes)] if table.footnotes else [])]
    below = sum(math.ceil(_width(note, _NOTE) / WIDTH) for note in notes)
    return _CAPTION + _LINE * (setting.points * (lines + 0.5 * groups) + _NOTE * below)


def _numbered(table: Table, i: int, count: int) -> Table:
    if count == 1:
        return table
    return replace(table, name=f"{table.name}-{i + 1}", title=f"{table.title} ({i + 1} of {count})")


def _widths(table: Table, setting: Setting) -> list[float]:
    """What each column takes with the space beside it, points."""
    return [_column(table, i, setting) + 2 * SEPARATION for i in range(len(table.columns))]


def _column(table: Table, i: int, setting: Setting) -> float:
    cells = [_cell(row[i], setting.points, table) for row in table.rows]
    if i < table.labels:
        cells = [min(cell, setting.label) for cell in cells]
    return max([*(_width(line, setting.points) for line in table.columns[i].lines), *cells])


def _cell(cell: Cell, size: float, table: Table) -> float:
    value, plus_minus, spread = cell.text.partition(" ± ")
    mark = _width(table.mark(cell), _SPREAD)
    own = (_BOLD if cell.rank == 1 else 1.0) * _width(value, size)
    return own + mark + (_THIN * size + _width(f"±{spread}", _SPREAD) if plus_minus else 0.0)


@lru_cache(1 << 16)  # of a long table each cell is measured for several settings, and again for each page
def _width(text: str, size: float) -> float:
    """Of a text in a line, points."""
    return _WIDER[size] * size * sum(_EM.get(c, _OTHERS) for c in text)
