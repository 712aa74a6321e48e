"""Numbers in print, what is wrong with them, what was seen: rows of ``numbers.csv``, ``errata.csv``, ``seen.csv``."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar, get_args

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import one_line, regular
from fsseg_bench.report.words import PRINTED_METRICS, PrintedMetric
from fsseg_bench.seen import FIELDS, UNKNOWN, Seen, wrong

FoldOrMean = int | Literal["mean"]
"""A fold, from 1, or the mean of all folds."""
MultiScale = Literal["yes", "inferred", "no", "unstated"]
"""Whether queries were seen at several scales; ``inferred``: yes, by agreement with a row that says so."""

_MUST = ("method", "venue", "year", "backbone", "protocol", "shot", "fold", "metric", "value", "source", "source_kind")
_MAY = {"table": "", "name": "", "way": "1", "multi_scale": "unstated", "note": ""}
_SEEN_MUST = ("method", "backbone")
_SEEN_MAY = {**dict.fromkeys(FIELDS, UNKNOWN), "source_kind": ""}
_ERRATUM_MAY = dict.fromkeys(("table", "protocol", "method", "backbone", "shot", "fold", "metric"), "")
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SCALES: tuple[MultiScale, ...] = get_args(MultiScale)
_Row = TypeVar("_Row")
_Choice = TypeVar("_Choice")


@dataclass(frozen=True)
class PublishedNumber:
    """One number as it was printed."""

    table: str
    """The paper's table; empty for a number that is in each table of its protocol and metric."""
    method: str
    """The method's name in print."""
    name: str
    """The method's name for ``--method``; empty where none would be the same thing."""
    venue: str
    year: int
    backbone: str
    protocol: str
    way: int
    shot: int | None
    """None where the source does not say."""
    fold: FoldOrMean
    metric: PrintedMetric
    text: str
    """The number with the digits printed, percent."""
    multi_scale: MultiScale
    source: str
    source_kind: str
    note: str
    where: str
    """File and line, for messages."""

    @property
    def value(self) -> float:
        """The number, percent."""
        return float(self.text)


@dataclass(frozen=True)
class Erratum:
    """Where a paper contradicts itself or others. What is None concerns all."""

    table: str | None
    protocol: str | None
    method: str | None
    backbone: str | None
    shot: int | None
    fold: FoldOrMean | None
    metric: PrintedMetric | None
    text: str
    where: str
    """File and line, for messages."""

    @property
    def whole_table(self) -> bool:
        """Whether it concerns the table rather than some of its numbers."""
        return self.method is None

    def concerns(self, number: PublishedNumber, table: str) -> bool:
        """Whether it is about this number in the paper's table of this name."""
        return self.table in {None, table} and all(
            wanted is None or wanted == getattr(number, key)
            for key, wanted in vars(self).items()
            if key not in {"table", "text", "where"}
        )


@dataclass(frozen=True)
class PrintedSeen:
    """What the rows of one method and backbone had seen."""

    method: str
    """As in ``numbers.csv``, as the backbone."""
    backbone: str
    seen: Seen
    source_kind: str
    """How it is known; empty where nothing is."""
    where: str
    """File and line, for messages."""


def read_numbers(path: Path) -> tuple[PublishedNumber, ...]:
    """The numbers of a file, in its order.

    Raises:
        UserError: the file cannot be read, a column is missing or unknown, a value is not allowed, or two lines give
            one number; names file, line and column.
    """
    numbers = _read(path, _MUST, _MAY, _number)
    lines: dict[tuple[object, ...], PublishedNumber] = {}
    for n in numbers:
        row = n.table, n.method, n.name, n.backbone, n.multi_scale, n.source, n.protocol
        first = lines.setdefault((*row, n.way, n.shot, n.fold, n.metric), n)
        if first is not n:
            raise UserError(f"{n.where}: gives the number of {first.where.rpartition(': ')[2]} again; keep one of them")
    return numbers


def read_errata(path: Path) -> tuple[Erratum, ...]:
    """The errata of a file, in its order.

    Raises:
        UserError: as :func:`read_numbers`.
    """
    return _read(path, ("text",), _ERRATUM_MAY, _erratum)


def read_seen(path: Path) -> dict[tuple[str, str], PrintedSeen]:
    """What was seen, by method and backbone.

    Raises:
        UserError: as :func:`read_numbers`; or it is known and the file does not say how.
    """
    found: dict[tuple[str, str], PrintedSeen] = {}
    for row in _read(path, _SEEN_MUST, _SEEN_MAY, _seen):
        first = found.setdefault((row.method, row.backbone), row)
        if first is not row:
            raise UserError(
                f"{row.where}: tells of the row of {first.where.rpartition(': ')[2]} again; keep one of them"
            )
    return found


def mean_note(mean: PublishedNumber, folds: Iterable[PublishedNumber], all_folds: int) -> str:
    """What to say of a printed mean that is not the mean of its folds up to rounding; else nothing.

    Rounding may move it by half a unit of the last decimal that the folds show (zeros at the end do not count,
    since tables are padded with them).

    Args:
        mean: the printed mean.
        folds: the printed folds of the same row; where some are missing there is nothing to check.
        all_folds: how many folds the protocol has.
    """
    parts = [Decimal(number.text) for number in folds]
    if not parts or len(parts) != all_folds:
        return ""
    average = sum(parts, Decimal(0)) / len(parts)
    decimals = max(_decimals(part) for part in parts)
    if abs(Decimal(mean.text) - average) <= Decimal(5).scaleb(-decimals - 1):
        return ""
    count = _COUNTS[len(parts)] if len(parts) < len(_COUNTS) else str(len(parts))
    return f"printed {mean.text}; its {count} folds average {average.normalize():f}"


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@dataclass(frozen=True)
class _Line:
    """One line of a file, by column."""

    where: str
    cells: Mapping[str, str]

    def wrong(self, column: str, allowed: str) -> UserError:
        return UserError(f"{self.where}, column {column}: {self.cells[column]!r} is not allowed; use {allowed}")

    def text(self, column: str, least: int = 1) -> str:
        """The text of a cell; with ``least=0`` it may be empty."""
        text = self.cells[column]
        if len(text) < least or not one_line(text):
            raise self.wrong(column, "text in one line" if text else "some text")
        return text

    def whole(self, column: str, *words: str) -> int | None:
        """A whole number from 1; None for one of ``words``."""
        text = self.cells[column]
        if text in words:
            return None
        if not re.fullmatch("0*[1-9][0-9]{0,5}", text):
            raise self.wrong(column, " or ".join(["a whole number from 1", *(word or "nothing" for word in words)]))
        return int(text)

    def percent(self, column: str) -> str:
        """The text of a number from 0 to 100."""
        text = self.cells[column]
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", text) or float(text) > 100:
            raise self.wrong(column, "a number in percent, 0 to 100, as 48.1")
        return text

    def one_of(self, column: str, allowed: tuple[_Choice, ...]) -> _Choice:
        """One of ``allowed``."""
        for choice in allowed:
            if self.cells[column] == choice:
                return choice
        raise self.wrong(column, ", ".join(map(str, allowed)))


def _number(line: _Line) -> PublishedNumber:
    return PublishedNumber(
        year=line.whole("year") or 0,
        way=line.whole("way") or 0,
        shot=line.whole("shot", "unstated"),
        fold=line.whole("fold", "mean") or "mean",
        metric=line.one_of("metric", PRINTED_METRICS),
        text=line.percent("value"),
        multi_scale=line.one_of("multi_scale", _SCALES),
        where=line.where,
        **{key: line.text(key, 0) for key in ("table", "name", "note")},
        **{key: line.text(key) for key in ("method", "venue", "backbone", "protocol", "source", "source_kind")},
    )


def _seen(line: _Line) -> PrintedSeen:
    for name in FIELDS:
        if allowed := wrong(name, line.text(name)):
            raise line.wrong(name, allowed)
    seen = Seen(**{name: line.text(name) for name in FIELDS})
    kind = line.text("source_kind", 0 if seen == Seen() else 1)
    return PrintedSeen(line.text("method"), line.text("backbone"), seen, kind, line.where)


def _erratum(line: _Line) -> Erratum:
    return Erratum(
        shot=line.whole("shot", ""),
        fold=(line.whole("fold", "mean") or "mean") if line.cells["fold"] else None,
        metric=line.one_of("metric", PRINTED_METRICS) if line.cells["metric"] else None,
        text=line.text("text"),
        where=line.where,
        **{key: line.text(key, 0) or None for key in ("table", "protocol", "method", "backbone")},
    )


def _read(path: Path, must: Sequence[str], may: Mapping[str, str], made: Callable[[_Line], _Row]) -> tuple[_Row, ...]:
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header, must, may)
            rows = []
            for cells in filter(None, reader):
                where = f"{path}: line {reader.line_num}"
                if len(cells) != len(header):
                    told = f"has {len(cells)} cells, and the header has {len(header)}; a comma needs quotes"
                    raise UserError(f"{where}: {told}")
                rows.append(made(_Line(where, {**may, **dict(zip(header, cells, strict=True))})))
            return tuple(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _check_header(path: Path, header: Sequence[str], must: Sequence[str], may: Mapping[str, str]) -> None:
    for column in header:
        if column not in {*must, *may}:
            raise unknown("column", column, [*must, *may], f"{path}: line 1")
        if header.count(column) > 1:
            raise UserError(f"{path}: line 1: the column {column} is there twice; remove one")
    if missing := [column for column in must if column not in header]:
        raise UserError(f"{path}: line 1: the columns {', '.join(missing)} are missing (columns are comma-separated)")
