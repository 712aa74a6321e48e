"""Tables as data: what a cell says, how sure it is and where it comes from. Renderers only print.

A paper's table has two shapes: what a number is (published, measured, difference) is a column, or a line of a row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

MISSING = "-"
"""The text of a number that does not exist."""

Fact = str | int
"""A value that says what a table or a column is about."""

Layout = Literal["auto", "columns", "lines"]
"""``auto`` takes lines for tables that would be too wide."""

RANKS = "Bold: best of column and backbone, {second}: second; no significance test."
"""What a caption says of ranks; renderers mark the second in different ways."""

_HEAD = 16  # characters of a heading's line
_WIDEST = 12  # columns of numbers that a page or a terminal still holds


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What a reader sees."""
    value: float | None = None
    """The number behind the text, unrounded, in the table's unit; None in label cells and where it is missing."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    note: str = ""
    """What a reader must know about this cell; shown as a footnote."""
    runs: tuple[str, ...] = ()
    """The run folders that the number comes from."""
    rank: int = 0
    """1: best among the numbers it may be compared with, 2: second; 0: neither, or nothing to compare with."""
    source: str = ""
    """Where a number that was not measured here was read."""
    marks: tuple[str, ...] = ()
    """Further notes, which other cells have too: what was seen for the numbers of a row."""
    seen: Mapping[str, str] | None = None
    """Of a number what was seen for it, by field of :class:`fsseg_bench.seen.Seen`, and ``seen_source``."""

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes."""
        return (self.note, *self.marks) if self.note else self.marks


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    head: tuple[str, ...]
    """Headings from the outermost to the innermost, as many as in every other column of the table; neighbours with
    equal outer headings share them."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the column is about, for machines: ``{"shot": 1, "fold": "mean", "metric": "mean"}``."""
    merge: bool = False
    """Whether equal neighbours down the column (equal in the columns before, too) are one heading."""
    spare: int = 0
    """Where there is no space, columns with the highest number are left out first; 0: never for this reason."""

    @property
    def title(self) -> str:
        """The headings in one line."""
        return " ".join(part for part in self.head if part)

    @property
    def lines(self) -> list[str]:
        """The innermost heading in lines of some words, for columns of short numbers."""
        return textwrap.wrap(self.head[-1], _HEAD, break_long_words=False) or [""]


@dataclass(frozen=True)
class Table:
    """One table. The first ``labels`` columns name a row, the others hold numbers."""

    name: str
    """A short name, unique in a report; becomes the LaTeX label and the CSV's first column."""
    title: str
    """The heading."""
    caption: str
    """How to read the numbers, in a sentence or two: unit, interval, number of episodes. The rest is in ``remarks``."""
    columns: tuple[Column, ...]
    labels: int
    """How many columns name a row."""
    rows: tuple[tuple[Cell, ...], ...]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the table is about, for machines: protocol, digest, way, metric, resolution."""
    remarks: tuple[str, ...] = ()
    """What a reader must know about the whole table, warnings first; shown below it, before the footnotes."""
    published: bool = False
    """Whether it shows published numbers."""

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"table {self.name!r}: a row has {len(wrong[0])} cells, not {len(self.columns)}")
        if len({len(column.head) for column in self.columns}) > 1:
            raise ValueError(f"table {self.name!r}: its columns have headings of different depth")

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Each different note with its mark (a, b, ..., z, aa, ...), in reading order."""
        notes = dict.fromkeys(note for row in self.rows for cell in row for note in cell.notes)
        return {note: _mark(i) for i, note in enumerate(notes)}

    def mark(self, cell: Cell) -> str:
        """The marks of the cell's footnotes: ``a,c``; empty where it has none."""
        return ",".join(self.footnotes[note] for note in cell.notes)

    @cached_property
    def ranked(self) -> bool:
        """Whether any number is marked as the best."""
        return any(cell.rank for row in self.rows for cell in row)

    @cached_property
    def spans(self) -> Mapping[tuple[int, int], int]:
        """By row and merged column how many rows a heading stands over; 0 where it began before."""
        spans: dict[tuple[int, int], int] = {}
        merged = [i for i, column in enumerate(self.columns) if column.merge]
        for place, column in enumerate(merged):
            first = 0
            headings = [[(row[i].text, row[i].notes) for i in merged[: place + 1]] for row in self.rows]
            for _, same in groupby(headings):
                length = len(list(same))
                spans |= {(first + i, column): 0 for i in range(length)} | {(first, column): length}
                first += length
        return spans

    def frame(self) -> pd.DataFrame:
        """The values, rows indexed by the labels and columns by the headings; NaN where a number is missing.

        A table without numbers gives its texts.
        """
        import pandas as pd

        heads = [column.head for column in self.columns]
        if self.labels == len(heads):
            return pd.DataFrame([[c.text for c in row] for row in self.rows], columns=[h[-1] for h in heads])
        index = pd.MultiIndex.from_tuples(
            [tuple(cell.text for cell in row[: self.labels]) for row in self.rows],
            names=[head[-1] for head in heads[: self.labels]],
        )
        columns = pd.MultiIndex.from_tuples(heads[self.labels :])
        values = [[cell.value for cell in row[self.labels :]] for row in self.rows]
        return pd.DataFrame(values, index=index, columns=columns, dtype=float)


def _mark(i: int) -> str:
    letters = ""
    i += 1
    while i:
        i, digit = divmod(i - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return letters


def printable(text: str) -> str:
    """``text`` in one line without control characters, which could steer a terminal or break a table."""
    if text.isprintable():  # nearly all
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def arranged(table: Table, layout: Layout) -> Table:
    """``table`` in the layout; columns that all show one kind of number need no heading for it, and no lines.

    With ``auto``, kinds of number that no row has are left out, and a remark says so.
    """
    if layout == "auto":
        table = _without_missing(table)
    kinds = _kinds(table)
    if len(kinds) == 1:
        return replace(table, title=f"{table.title}, {kinds[0]}", columns=tuple(map(_shallow, table.columns)))
    wide = len(table.columns) - table.labels > _WIDEST
    if not kinds or layout == "columns" or (layout == "auto" and not wide):
        return table
    return _lines(table, kinds)


def _kinds(table: Table) -> list[str]:
    return [str(k) for k in dict.fromkeys(c.facts["number"] for c in table.columns if "number" in c.facts)]


def _known(cell: Cell) -> bool:
    return cell.value is not None or bool(cell.runs)


def _without_missing(table: Table) -> Table:
    """``table`` without the columns of those kinds of number that nothing is known of."""
    places = {kind: _places(table, kind) for kind in _kinds(table)}
    gone = [kind for kind, own in places.items() if not any(_known(row[i]) for row in table.rows for i in own)]
    if not gone or len(gone) == len(places):
        return table
    kept = [i for i, column in enumerate(table.columns) if column.facts.get("number") not in gone]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        remarks=(*table.remarks, f"Left out, since there are none: {' and '.join(gone)}."),
    )


def _places(table: Table, kind: str) -> list[int]:
    return [i for i, column in enumerate(table.columns) if column.facts.get("number") == kind]


def _lines(table: Table, kinds: Sequence[str]) -> Table:
    places = {kind: _places(table, kind) for kind in kinds}
    heads = [column.head[-1] for column in table.columns[: table.labels]]
    labels = [i for i, head in enumerate(heads) if head != "settings"]
    settings = [i for i, head in enumerate(heads) if head == "settings"]
    columns = [
        *(_shallow(table.columns[i]) for i in labels),
        Column(("", "number")),
        *(_shallow(table.columns[i]) for i in settings),
        *(_shallow(table.columns[i]) for i in places[kinds[0]]),
    ]
    rows: list[tuple[Cell, ...]] = []
    shown: tuple[Cell, ...] = ()
    for row in table.rows:
        label = tuple(row[i] for i in labels)
        for kind in kinds:
            cells = tuple(row[i] for i in places[kind])
            line = (*label, Cell(kind), *(row[i] if kind != "published" else Cell("") for i in settings), *cells)
            if line == shown or not any(map(_known, cells)):
                continue
            shown = line if kind == "published" else shown
            rows.append(line)
    lacking = [
        kind for kind in kinds if any(not any(map(_known, (row[i] for i in places[kind]))) for row in table.rows)
    ]
    said = [f"Rows without a line of a number ({', '.join(lacking)}) lack it."] if lacking else []
    return replace(
        table,
        columns=tuple(columns),
        labels=len(labels) + 1 + len(settings),
        rows=tuple(rows),
        remarks=(*table.remarks, *said),
    )


def _shallow(column: Column) -> Column:
    """The column without the level of headings that becomes a label; of labels, without an empty one."""
    head = column.head[:-1] if "number" in column.facts else column.head[1:]
    facts = {key: value for key, value in column.facts.items() if key != "number"}
    return replace(column, head=head, facts=facts)
