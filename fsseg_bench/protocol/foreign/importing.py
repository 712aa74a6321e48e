"""Imports an episode list of another tool: reads it, finds what its numbers mean, names its images as the data do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.foreign.images import Names, TestImages
from fsseg_bench.protocol.foreign.readings import (
    Choice,
    Placed,
    Reading,
    ambiguous,
    class_name,
    notes_on,
    readings,
    uncovered,
)
from fsseg_bench.protocol.foreign.rows import number, rows_of
from fsseg_bench.protocol.foreign.sheet import read_sheet
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable, column_names, read_text


@dataclass(frozen=True)
class Imported:
    """What a file holds."""

    tables: Mapping[int, EpisodeTable]
    """The episodes of each fold, in the file's order."""
    notes: tuple[str, ...]
    """Everything that was changed, left out or assumed, a sentence each."""
    unchanged: bool
    """Whether the file is a table of this package already, as it stands."""


def import_episodes(path: Path, protocol: Protocol, choice: Choice, images: TestImages | None) -> Imported:
    """Reads an episode list whose columns, numbers and names are another tool's.

    Fold and class numbers may count from 0 or 1, class numbers within the fold or over all classes; of the readings
    that fit the folds, the one counts under which every image shows its class. Images may have suffixes, folders, or
    only a part of their id.

    Args:
        path: the file.
        protocol: whose folds, classes and test images are meant.
        choice: what the user says of the file.
        images: of the data, which the result is compared with; None: nothing is compared.

    Raises:
        UserError: the file cannot be read, several readings fit or none, or the episodes do not fit the data. Names
            the file and the line, and the option that decides.
    """
    names = Names(protocol, images)
    sheet = read_sheet(
        path, choice.columns, lambda text: number(text) is not None or class_name(text, protocol) is not None
    )
    rows, notes = rows_of(sheet, path, choice.shot, names.is_image)
    if choice.way not in {None, len(rows[0].classes)}:
        raise UserError(f"{path}: its episodes are {len(rows[0].classes)}-way, not {choice.way}-way")
    own_form = list(sheet.names) == column_names(len(rows[0].classes), rows[0].shots)
    found = readings(rows, protocol, choice, fold_from_0=sheet.columns.fold_from_0, own_form=own_form, where=path)
    reading, decided = _decided(found, protocol, names, images, path)
    tables = _tables(reading, protocol, names, images, path)
    as_written = read_text(path).replace("\r\n", "\n").rstrip("\n") + "\n"
    unchanged = len(tables) == 1 and next(iter(tables.values())).text() == as_written
    fold_column = "" if sheet.columns.fold is None else sheet.names[sheet.columns.fold]
    notes = [*sheet.notes, *notes, *notes_on(reading, protocol, choice, fold_column, own_form)]
    if len(reading.placed) < len(rows):
        notes.append(f"left out {len(rows) - len(reading.placed):,} rows of other folds (--fold {choice.fold})")
    used = (cell for row in reading.placed for cell in _cells(row))
    notes += [*decided, *names.notes(used), *_warnings(tables, reading, protocol, images)]
    return Imported(tables, tuple(notes), unchanged)


def _decided(
    found: Sequence[Reading], protocol: Protocol, names: Names, images: TestImages | None, path: Path
) -> tuple[Reading, list[str]]:
    """The reading that is left, and how the data decided if they did.

    Readings under which each held-out class has an episode go before others: without it no run accepts a list.
    """
    complete = [reading for reading in found if not uncovered(reading, protocol)] or list(found)
    if images is None:
        if len(complete) > 1:
            raise ambiguous(complete, path)
        return complete[0], []
    if len(found) == 1 or (len(complete) == 1 and not _misfits(complete[0], names, images, path)):
        return complete[0], []
    wrong = {reading.options: _misfits(reading, names, images, path) for reading in found}
    fitting = [r for r in complete if not wrong[r.options]] or [r for r in found if not wrong[r.options]]
    if len(fitting) != 1:
        raise ambiguous(
            fitting or found,
            path,
            lambda reading: f"; {wrong[reading.options]:,} rows have images that do not show their class",
        )
    others = ", ".join(f"{options}: {count:,}" for options, count in wrong.items() if count)
    return fitting[0], [f"the data decided what the numbers mean: rows whose images do not show their class: {others}"]


def _misfits(reading: Reading, names: Names, images: TestImages, path: Path) -> int:
    """In how many rows an image does not show its class."""

    def fits(row: Placed) -> bool:
        where = f"{path}: line {row.row.line}"
        try:
            return all(images.shows(names.id_of(text, c, where), c, row.fold) for text, c in _cells(row))
        except UserError:  # a name that is ambiguous under this reading
            return False

    return sum(not fits(row) for row in reading.placed)


def _cells(placed: Placed) -> Iterator[tuple[str, int]]:
    """Each image name of a row with the class that it is there for."""
    yield placed.row.query, placed.classes[0]
    for c, texts in zip(placed.classes, placed.row.supports, strict=True):
        yield from ((text, c) for text in texts)


def _tables(
    reading: Reading, protocol: Protocol, names: Names, images: TestImages | None, path: Path
) -> dict[int, EpisodeTable]:
    """The table of each fold, compared with the data where they are known."""
    tables = {}
    folds = sorted({row.fold for row in reading.placed})
    for fold in folds:
        rows = [row for row in reading.placed if row.fold == fold]
        ids = [[names.id_of(text, c, f"{path}: line {row.row.line}") for text, c in _cells(row)] for row in rows]
        ways, shots = len(rows[0].classes), rows[0].row.shots
        starts = range(1, 1 + ways * shots, shots)
        tables[fold] = EpisodeTable(
            classes=tuple(row.classes for row in rows),
            queries=tuple(row[0] for row in ids),
            supports=tuple(tuple(tuple(row[start : start + shots]) for start in starts) for row in ids),
        )
        if images is not None:
            check_episodes(
                tables[fold],
                images.pairs[fold],
                protocol.novel_classes(fold),
                ways,
                shots,
                f"{path} (fold {fold})" if len(folds) > 1 else path,
                support_replacement=True,  # the list is what it is; what a run needs for it is said
                lines=[row.row.line for row in rows],
                copies=images.copies,
            )
    return tables


def _warnings(
    tables: Mapping[int, EpisodeTable], reading: Reading, protocol: Protocol, images: TestImages | None
) -> list[str]:
    """What a run will ask for."""
    notes = []
    repeated = sum(table.repeats for table in tables.values())
    if repeated and not protocol.episodes.support_replacement:
        notes.append(
            f"{repeated:,} episodes have an image among their supports several times: `run` needs "
            "--set protocol.episodes.support_replacement=true"
        )
    if images is None:
        notes.append("not compared with the data (--no-check); `run` does")
        for fold, classes in uncovered(reading, protocol).items():
            missing = ", ".join(map(protocol.class_name, classes))
            notes.append(f"fold {fold}: no episode has {missing} as its first class; `run` refuses such a list")
    return notes
