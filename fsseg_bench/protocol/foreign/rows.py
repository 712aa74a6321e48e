"""The rows of an episode list as texts by what they mean: fold, classes, query, supports of each way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.foreign.sheet import Line, Sheet

_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?")
_FOLD = re.compile(r"(?i)(?:(?:fold|split)[ _-]?)?([0-9]{1,9})(?:\.0*)?")
_LISTED = re.compile(r"[\[(](.*)[\])]", re.DOTALL)
_SEPARATORS = {";": ";", "|": "|", ",": ",", " ": "spaces"}


@dataclass(frozen=True)
class Row:
    """One episode, in the file's own words."""

    line: int
    fold: int | None
    classes: tuple[tuple[str, ...], ...]
    """For each way what the file says of its class, once or in several ways."""
    query: str
    supports: tuple[tuple[str, ...], ...]
    """Of each way."""

    @property
    def shots(self) -> int:
        """K."""
        return len(self.supports[0])


def number(text: str) -> int | None:
    """A whole number, also as ``3.0``, which tables with gaps turn into; None: it is none."""
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def rows_of(
    sheet: Sheet, path: Path, wanted: int | None, is_image: Callable[[str], bool]
) -> tuple[list[Row], list[str]]:
    """The episodes of a sheet, all of K shots, and what was left out or assumed.

    Args:
        sheet: from :func:`fsseg_bench.protocol.foreign.sheet.read_sheet`.
        path: the file, for messages.
        wanted: K; None: the file's only one.
        is_image: whether a text is known to name one image; such a cell is never split into several supports.

    Raises:
        UserError: an empty cell, a fold or a shot that is no number, several K of which none is wanted, a column that
            nobody knows and that is not the same in all rows. Names the file and the line.
    """
    sheet = _without_list_names(sheet)
    separator, notes = _separator(sheet, is_image)
    _check_unknown(sheet, path)
    split = None if separator is None else lambda text: (text,) if is_image(text) else _split(text, separator)
    rows = [_row(sheet, line, split, f"{path}: line {line.number}") for line in sheet.rows]
    notes += _columns_left_out(sheet)
    counts = Counter(row.shots for row in rows)
    if wanted is None and len(counts) > 1:
        found = ", ".join(f"{k}-shot: {count:,} rows" for k, count in sorted(counts.items()))
        raise UserError(f"{path}: holds episodes of several K ({found}); choose one with --shot")
    shots = next(iter(counts)) if wanted is None else wanted
    kept = [row for row in rows if row.shots == shots]
    if not kept:
        raise UserError(
            f"{path}: has no {shots}-shot episodes; it has {', '.join(f'{k}-shot' for k in sorted(counts))}"
        )
    if len(kept) < len(rows):
        notes.append(f"left out {len(rows) - len(kept):,} rows that are not {shots}-shot (--shot {shots})")
    return kept, notes


def _without_list_names(sheet: Sheet) -> Sheet:
    """The sheet, where a column ``split`` that says val or trn is taken for what it is: no fold."""
    columns, column = sheet.columns, sheet.columns.fold
    if column is None or any(_FOLD.fullmatch(line.cells[column]) for line in sheet.rows):
        return sheet
    if "split" not in sheet.names[column].lower():
        return sheet
    return replace(sheet, columns=replace(columns, fold=None, unknown=(*columns.unknown, column)))


def _row(sheet: Sheet, line: Line, split: Callable[[str], tuple[str, ...]] | None, where: str) -> Row:
    columns = sheet.columns

    def cell(column: int) -> str:
        if not line.cells[column]:
            raise UserError(f"{where}: {sheet.names[column] or 'a column without a name'} is empty")
        return line.cells[column]

    def whole(column: int, pattern: re.Pattern[str] = _NUMBER) -> int:
        match = pattern.fullmatch(cell(column))
        if match is None:
            raise UserError(f"{where}: {sheet.names[column]} is {cell(column)!r}; it must be a whole number")
        return int(match[1])

    def supports(way: Sequence[int]) -> tuple[str, ...]:
        if len(way) == 1 and split:
            return split(cell(way[0]))
        texts = [line.cells[column] for column in way]
        while len(texts) > 1 and not texts[-1]:  # lists of several K leave the last columns of a row empty
            texts.pop()
        if len(texts) > 1 and not all(texts):
            raise UserError(f"{where}: {sheet.names[way[texts.index('')]]} is empty, but a later support is not")
        return (cell(way[0]), *texts[1:])

    row = Row(
        line=line.number,
        fold=None if columns.fold is None else whole(columns.fold, _FOLD),
        classes=tuple(tuple(map(cell, way)) for way in columns.classes),
        query=cell(columns.query),
        supports=tuple(map(supports, columns.supports)),
    )
    if len({len(way) for way in row.supports}) > 1 or not row.shots:
        raise UserError(f"{where}: its ways have {', '.join(str(len(way)) for way in row.supports)} supports")
    for column, found, what in ((columns.shot, row.shots, "supports"), (columns.way, len(row.classes), "classes")):
        if column is not None and whole(column) != found:
            raise UserError(f"{where}: {sheet.names[column]} is {whole(column)}, but there are {found} {what}")
    return row


def _separator(sheet: Sheet, is_image: Callable[[str], bool]) -> tuple[str | None, list[str]]:
    """What separates supports that share a cell; None where each has a cell to itself."""
    columns = [way[0] for way in sheet.columns.supports if len(way) == 1]
    if len(columns) < len(sheet.columns.supports):
        return None, []
    texts = [line.cells[column] for line in sheet.rows for column in columns if not is_image(line.cells[column])]
    separator = next((sign for sign in _SEPARATORS if any(sign in _bare(text) for text in texts)), None)
    if separator is None:
        return (",", []) if any(_LISTED.fullmatch(text) for text in texts) else (None, [])
    names = ", ".join(repr(sheet.names[column]) for column in columns)
    return separator, [f"supports that share a cell ({names}) are separated by {_SEPARATORS[separator]}"]


def _bare(text: str) -> str:
    """The text within the brackets of a list."""
    match = _LISTED.fullmatch(text)
    return match[1].strip() if match else text


def _split(text: str, separator: str) -> tuple[str, ...]:
    parts = (
        part.strip().strip("'\"")
        for part in re.split(r"\s+" if separator == " " else re.escape(separator), _bare(text))
    )
    return tuple(part for part in parts if part)


def _check_unknown(sheet: Sheet, path: Path) -> None:
    for column in sheet.columns.unknown:
        values = dict.fromkeys(line.cells[column] for line in sheet.rows)
        if len(values) > 1:
            shown = ", ".join(repr(value) for value in list(values)[:3])
            given = ",".join("-" if i == column else name or "-" for i, name in enumerate(sheet.names))
            raise UserError(
                f"{path}: column {sheet.names[column]!r} is not known and has several values ({shown}, ...). If it "
                f"does not matter, leave it out with --columns '{given}'; if these are several lists, put them in "
                "files of their own"
            )


def _columns_left_out(sheet: Sheet) -> list[str]:
    notes = []
    for columns, why in (
        (sheet.columns.numbers, "they number the rows; the order is that of the file"),
        (sheet.columns.masks, "masks come from the data set"),
        (sheet.columns.unknown, "one value in all rows"),
    ):
        if columns:
            names = ", ".join(repr(sheet.names[column]) for column in columns)
            notes.append(f"left out column{'s' if len(columns) > 1 else ''} {names} ({why})")
    if skipped := sum(name.strip() == "-" for name in sheet.names):
        notes.append(f"left out {skipped} columns (- in --columns)")
    return notes
