"""The papers' own numbers, read from ``results/published``: what was printed, where, and what is wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fsseg_bench.errors import UserError
from fsseg_bench.paths import folder
from fsseg_bench.protocol.spec import FOLDS
from fsseg_bench.protocol.statistics import Metric

FoldOrMean = int | Literal["mean"]
"""1..4, or the mean of the four."""
MultiScale = Literal["yes", "inferred", "no", "unstated"]
"""Whether queries were seen at several scales; ``inferred``: yes, by agreement with a row that says so."""

_FILES = ("biopt-paper.csv", "later.csv")
_ERRATA = "errata.csv"


@dataclass(frozen=True)
class PublishedNumber:
    """One number as it was printed."""

    table: int | None
    """The BiOpt paper's table, 1..5; None for numbers from elsewhere."""
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
    metric: Metric
    text: str
    """The number with the digits printed, percent."""
    multi_scale: MultiScale
    source: str
    source_kind: str
    note: str

    @property
    def value(self) -> float:
        """The number, percent."""
        return float(self.text)


@dataclass(frozen=True)
class Erratum:
    """Where the BiOpt paper contradicts itself or others. What is None concerns all."""

    table: int
    protocol: str | None
    method: str | None
    backbone: str | None
    shot: int | None
    fold: FoldOrMean | None
    metric: Metric | None
    text: str

    @property
    def whole_table(self) -> bool:
        """Whether it concerns the table rather than some of its numbers."""
        return self.method is None

    def concerns(self, number: PublishedNumber) -> bool:
        """Whether it is about this number."""
        return self.table == number.table and all(
            wanted is None or wanted == getattr(number, key)
            for key, wanted in vars(self).items()
            if key not in {"table", "text"}
        )


@cache
def published() -> tuple[PublishedNumber, ...]:
    """All published numbers, those of the BiOpt paper first, in the order of the files.

    Raises:
        UserError: a file is missing or has a wrong value; names file and line.
    """
    home = folder("results/published")
    return tuple(_number(row, where) for name in _FILES for row, where in _rows(home / name))


@cache
def errata() -> tuple[Erratum, ...]:
    """What is known to be wrong in the BiOpt paper's tables.

    Raises:
        UserError: as :func:`published`.
    """
    return tuple(_erratum(row, where) for row, where in _rows(folder("results/published") / _ERRATA))


def mean_note(mean: PublishedNumber, folds: Iterable[PublishedNumber]) -> str:
    """What to say of a printed mean that is not the mean of its four folds up to rounding; else nothing.

    Rounding may move it by half a unit of the last decimal that the folds show (zeros at the end do not count,
    since tables are padded with them).

    Args:
        mean: the printed mean.
        folds: the printed folds of the same row; with fewer than four there is nothing to check.
    """
    parts = [Decimal(number.text) for number in folds]
    if len(parts) != len(FOLDS):
        return ""
    average = sum(parts, Decimal(0)) / len(parts)
    decimals = max(_decimals(part) for part in parts)
    if abs(Decimal(mean.text) - average) <= Decimal(5).scaleb(-decimals - 1):
        return ""
    return f"printed {mean.text}; its four folds average {average.normalize():f}"


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _rows(path: Path) -> list[tuple[Mapping[str, str], str]]:
    """Each row with the words that name it in a message."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            return [(row, f"{path}: line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _number(row: Mapping[str, str], where: str) -> PublishedNumber:
    try:
        if not Decimal(row["value"]).is_finite():
            raise ValueError(f"value is {row['value']!r}")
        return PublishedNumber(
            table=int(row["table"]) if row["table"] else None,
            way=int(row["way"]),
            shot=None if row["shot"] == "unstated" else int(row["shot"]),
            year=int(row["year"]),
            fold=_fold(row["fold"]),
            metric=_one_of(row["metric"], ("mean", "binary")),
            text=row["value"],
            multi_scale=_one_of(row["multi_scale"], ("yes", "inferred", "no", "unstated")),
            **{
                key: row[key]
                for key in ("method", "name", "venue", "backbone", "protocol", "source", "source_kind", "note")
            },
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise UserError(f"{where}: not a published number: {error!r}; reinstall fsseg-bench") from error


def _erratum(row: Mapping[str, str], where: str) -> Erratum:
    try:
        return Erratum(
            table=int(row["table"]),
            protocol=row["protocol"] or None,
            method=row["method"] or None,
            backbone=row["backbone"] or None,
            shot=int(row["shot"]) if row["shot"] else None,
            fold=_fold(row["fold"]) if row["fold"] else None,
            metric=_one_of(row["metric"], ("mean", "binary")) if row["metric"] else None,
            text=row["text"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: not an erratum: {error!r}; reinstall fsseg-bench") from error


def _fold(text: str) -> FoldOrMean:
    if text == "mean":
        return "mean"
    if int(text) not in FOLDS:
        raise ValueError(f"fold is {text!r}")
    return int(text)


def _one_of(text: str, allowed: tuple[str, ...]) -> Any:
    if text not in allowed:
        raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
    return text
