"""Tables as data: what a cell says, how sure it is and where it comes from. Renderers only print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MISSING = "-"
"""The text of a number that does not exist."""

Fact = str | int
"""A value that says what a table or a column is about."""


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

    @property
    def title(self) -> str:
        """The headings in one line."""
        return " ".join(part for part in self.head if part)


@dataclass(frozen=True)
class Table:
    """One table. The first ``labels`` columns name a row, the others hold numbers."""

    name: str
    """A short name, unique in a report; becomes the LaTeX label and the CSV's first column."""
    title: str
    """The heading."""
    caption: str
    """How to read the numbers: unit, interval, what a row is."""
    columns: tuple[Column, ...]
    labels: int
    """How many columns name a row."""
    rows: tuple[tuple[Cell, ...], ...]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the table is about, for machines: protocol, digest, way, metric, resolution."""
    remarks: tuple[str, ...] = ()
    """What a reader must know about the whole table; shown before the footnotes."""
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
        notes = dict.fromkeys(cell.note for row in self.rows for cell in row if cell.note)
        return {note: _mark(i) for i, note in enumerate(notes)}

    @cached_property
    def ranked(self) -> bool:
        """Whether any number is marked as the best."""
        return any(cell.rank for row in self.rows for cell in row)

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
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
