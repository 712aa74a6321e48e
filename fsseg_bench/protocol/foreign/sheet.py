"""An episode list as rows of text: which sign separates the columns, and which line names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.foreign.columns import Columns, ColumnsError, columns_of
from fsseg_bench.protocol.table import read_text

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_HOW = (
    "name the columns in their order with --columns, for example --columns fold,class,query,support_1 (- for a column "
    "that does not matter)"
)


@dataclass(frozen=True)
class Line:
    """One row of the file."""

    number: int
    """From 1."""
    cells: tuple[str, ...]
    """One for each column; empty where the file's line has fewer."""


@dataclass(frozen=True)
class Sheet:
    """A file as rows of cells."""

    names: tuple[str, ...]
    """Of the columns: as the file has them, or those that the user gave."""
    columns: Columns
    rows: tuple[Line, ...]
    notes: tuple[str, ...]
    """What was left out or assumed."""


def read_sheet(path: Path, columns: Sequence[str] | None, is_class: Callable[[str], bool]) -> Sheet:
    """Reads a list whose columns are separated by commas, tabs or semicolons.

    Args:
        path: a text file in UTF-8.
        columns: names of the columns, where the file has none or unknown ones; None: its first line names them.
        is_class: whether a cell says a class; the first line is none of the episodes if its class cell is none.

    Raises:
        UserError: the file cannot be read, is no table, or the names do not say where class, query and supports are.
            Names the file and the line.
    """
    text = read_text(path)
    if text.lstrip()[:1] in {"{", "["}:
        raise UserError(f"{path}: is JSON; --import reads tables: one episode a line, columns separated by commas")
    failures: list[tuple[int, str]] = []
    sheets = []
    for delimiter in _DELIMITERS:
        lines, comments = _lines(text, delimiter, path)
        if not lines:
            raise UserError(f"{path}: holds no episodes")
        try:
            sheets.append(_sheet(lines, columns, is_class, delimiter, comments))
        except ColumnsError as error:
            failures.append((len(lines[0].cells), str(error)))
    if len(sheets) == 1:
        return _filled_up(sheets[0], path)
    if sheets:
        raise UserError(f"{path}: its columns may be separated by several signs; save it as comma-separated text")
    raise UserError(f"{path}: line 1: {max(failures)[1]}; {_HOW}")


def _lines(text: str, delimiter: str, path: Path) -> tuple[list[Line], int]:
    """The rows that are not empty, and how many comments were before the first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines: list[Line] = []
    comments = 0
    try:
        for cells in reader:
            plain = tuple(cell.strip() for cell in cells)
            if not any(plain):
                continue
            if not lines and plain[0].startswith("#"):
                named = (plain[0].lstrip("# "), *plain[1:])
                if not _names_columns(named):
                    comments += 1
                    continue
                plain = named
            lines.append(Line(reader.line_num, plain))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: is not CSV text: {error}") from None
    return lines, comments


def _names_columns(cells: Sequence[str]) -> bool:
    try:
        columns_of(cells)
    except ColumnsError:
        return False
    return True


def _sheet(
    lines: Sequence[Line], columns: Sequence[str] | None, is_class: Callable[[str], bool], delimiter: str, comments: int
) -> Sheet:
    notes = [f"columns are separated by {_DELIMITERS[delimiter]}"] if delimiter != "," else []
    if comments:
        notes.append(f"left out the comments at the beginning ({comments} in number)")
    first = lines[0]
    if columns is None:
        names, rows, known = first.cells, lines[1:], _read_names(first, is_class)
    else:
        if len(columns) != len(first.cells):
            raise ColumnsError(f"--columns names {len(columns)} columns, the file has {len(first.cells)}")
        names, known = tuple(columns), columns_of(columns)
        header = not any(is_class(first.cells[column]) for way in known.classes for column in way)
        rows = lines[1:] if header else lines
        if header:
            notes.append(f"line {first.number} is taken as the names of the columns, which --columns replaces")
    return Sheet(names, known, tuple(rows), tuple(notes))


def _read_names(first: Line, is_class: Callable[[str], bool]) -> Columns:
    try:
        return columns_of(first.cells)
    except ColumnsError as error:
        if any(map(is_class, first.cells)):
            raise ColumnsError(
                f"{','.join(first.cells)!r} seems to be an episode, so that no line names the columns"
            ) from error
        raise


def _filled_up(sheet: Sheet, path: Path) -> Sheet:
    """The sheet with a cell for each column in each row."""
    if not sheet.rows:
        raise UserError(f"{path}: holds no episodes, only the names of its columns")
    width = len(sheet.names)
    for line in sheet.rows:
        if len(line.cells) > width:
            raise UserError(f"{path}: line {line.number}: has {len(line.cells)} columns; there are names for {width}")
    rows = (Line(line.number, line.cells + ("",) * (width - len(line.cells))) for line in sheet.rows)
    return replace(sheet, rows=tuple(rows))
