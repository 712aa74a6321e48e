"""What fold and class numbers of another tool may mean, and which meaning fits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.foreign.rows import Row, number
from fsseg_bench.protocol.spec import Protocol

Scope = Literal["all", "fold", "name"]
"""Class numbers count all classes, or those of the row's fold; or classes have names."""
_SHOWN = 40
"""Characters of a cell in a message."""


@dataclass(frozen=True)
class Placed:
    """What a row is in this package's terms."""

    row: Row
    fold: int
    classes: tuple[int, ...]
    """Label values."""


@dataclass(frozen=True)
class Reading:
    """One meaning of the numbers."""

    fold_base: int | None
    """What the first fold is called; None: no column says the fold."""
    scope: Scope
    class_base: int
    """What the first class is called; 0 where classes have names."""
    placed: tuple[Placed, ...] = field(repr=False, default=())

    @property
    def outcome(self) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """What the rows become: readings of one outcome are one."""
        return tuple((placed.row.line, placed.fold, placed.classes) for placed in self.placed)

    @property
    def options(self) -> str:
        """The options that choose this reading."""
        parts = [] if self.fold_base is None else [f"--fold-base {self.fold_base}"]
        parts.append(f"--class-scope {self.scope}")
        return " ".join([*parts, *([] if self.scope == "name" else [f"--class-base {self.class_base}"])])


@dataclass(frozen=True)
class Choice:
    """What the user says of a list; None: whatever fits."""

    fold: int | None = None
    """The fold whose episodes are wanted, from 1."""
    shot: int | None = None
    way: int | None = None
    columns: tuple[str, ...] | None = None
    fold_base: int | None = None
    class_base: int | None = None
    class_scope: Scope | None = None


def class_name(text: str, protocol: Protocol) -> str | None:
    """The protocol's class of that name, written alike but for case, spaces and signs; None: there is none."""
    if text in protocol.classes:
        return text
    alike = [name for name in protocol.classes if _plain(name) == _plain(text)]
    return alike[0] if len(alike) == 1 and _plain(text) else None


def readings(
    rows: Sequence[Row],
    protocol: Protocol,
    choice: Choice,
    *,
    fold_from_0: bool = False,
    own_form: bool = False,
    where: str | Path,
) -> list[Reading]:
    """Every reading under which each row's classes are held out in its fold; those of one outcome once.

    Args:
        rows: of the file.
        protocol: gives folds and classes.
        choice: what the user says.
        fold_from_0: whether the fold's column says that it counts from 0.
        own_form: whether the columns are those of this package, whose classes are label values if they can be.
        where: the file, for messages.

    Raises:
        UserError: there is none; the message says for each why.
    """
    made: dict[object, Reading] = {}
    reasons: dict[str, None] = {}
    for reading in _possible(rows, protocol, choice, fold_from_0):
        try:
            placed = tuple(_place(row, reading, protocol, choice) for row in rows)
            _check_one_name(placed, reading)
            chosen = tuple(row for row in placed if choice.fold in {None, row.fold})
            if not chosen:
                raise UserError(f"no row is of fold {choice.fold}")
        except UserError as error:
            reasons[f"{_words(reading)}: {error}"] = None
            continue
        full = replace(reading, placed=chosen)
        if own_form and (full.scope, full.class_base) == ("all", 1):
            return [full]
        made.setdefault(full.outcome, full)
    if not made:
        why = "; ".join(reasons) or "the options exclude every meaning of its class column"
        raise UserError(f"{where}: its folds and classes fit {protocol.label} in no way. {why}")
    return list(made.values())


def uncovered(reading: Reading, protocol: Protocol) -> dict[int, list[int]]:
    """For each fold of the reading the held-out classes that no episode has as its first; empty if there is none."""
    firsts: dict[int, set[int]] = {}
    for row in reading.placed:
        firsts.setdefault(row.fold, set()).add(row.classes[0])
    missing = {fold: sorted(set(protocol.novel_classes(fold)) - found) for fold, found in sorted(firsts.items())}
    return {fold: classes for fold, classes in missing.items() if classes}


def ambiguous(
    found: Sequence[Reading], where: str | Path, misfits: Callable[[Reading], str] = lambda _: ""
) -> UserError:
    """What to say where several readings are left."""
    listing = "; ".join(
        f"{reading.options} ({_example(reading)}{misfits(reading)})"
        for reading in sorted(found, key=lambda r: r.options)
    )
    return UserError(f"{where}: its fold and class numbers can mean several things. Choose one of: {listing}")


def notes_on(reading: Reading, protocol: Protocol, choice: Choice, fold_column: str, read_as_given: bool) -> list[str]:
    """What the reading says of the numbers, with what it changes."""
    notes = []
    counts = Counter(row.fold for row in reading.placed)
    if reading.fold_base == 0:
        moved = ", ".join(
            f"{count:,} rows of fold {fold - 1} are fold {fold}" for fold, count in sorted(counts.items())
        )
        notes.append(f"column {fold_column!r} counted from 0: {moved}")
    elif reading.fold_base == 1:
        notes.append(f"column {fold_column!r} counts from 1, as here; left out, since a file holds one fold")
    elif choice.fold is not None and reading.scope == "fold":
        notes.append(f"no column says the fold: all rows are taken as fold {choice.fold} (--fold {choice.fold})")
    elif len(counts) > 1:
        notes.append(
            f"no column says the fold: rows are of folds {', '.join(map(str, sorted(counts)))} by their classes"
        )
    if reading.scope == "name":
        texts = [text for placed in reading.placed for way in placed.row.classes for text in way]
        spelled = sum(text not in protocol.classes and class_name(text, protocol) is not None for text in texts)
        notes.append(
            "class names became label values" + (f" ({spelled:,} are written otherwise here)" if spelled else "")
        )
    elif reading.scope == "fold":
        first = reading.placed[0]
        example = f"{first.row.classes[0][0]} of fold {first.fold} became {first.classes[0]}"
        notes.append(f"class numbers are places in the fold, counted from {reading.class_base}: {example}")
    elif reading.class_base == 0:
        notes.append("class numbers were counted from 0: +1")
    elif not read_as_given:
        notes.append("class numbers are taken as label values, counted from 1")
    return notes


def _possible(rows: Sequence[Row], protocol: Protocol, choice: Choice, fold_from_0: bool) -> Iterator[Reading]:
    folds: list[int | None] = [1, 0]
    if rows[0].fold is None:
        folds = [None]
    elif choice.fold_base is not None or fold_from_0:
        folds = [choice.fold_base or 0]
    words = [text for way in rows[0].classes for text in way]
    numbers = all(number(text) is not None for text in words)
    scopes: list[Scope] = ["name"] if not numbers or any(class_name(text, protocol) for text in words) else []
    scopes += ["all", "fold"] if numbers else []
    for fold_base, scope in itertools.product(folds, scopes):
        if choice.class_scope not in {None, scope}:
            continue
        if scope == "name":
            yield Reading(fold_base, scope, 0)
        else:
            bases = (1, 0) if choice.class_base is None else (choice.class_base,)
            yield from (Reading(fold_base, scope, base) for base in bases)


def _place(row: Row, reading: Reading, protocol: Protocol, choice: Choice) -> Placed:
    """The row under a reading.

    Raises:
        UserError: it does not fit.
    """
    where = f"line {row.line}"
    fold = choice.fold if row.fold is None else row.fold - (reading.fold_base or 0) + 1
    if row.fold is not None and fold not in protocol.folds:
        raise UserError(f"{where}: fold {row.fold} does not exist then")
    if reading.scope == "fold" and fold is None:
        raise UserError("no column says the fold (give --fold)")
    classes = tuple(_label(texts, reading, protocol, fold, where) for texts in row.classes)
    if fold is None or (row.fold is None and reading.scope != "fold"):
        fold = next((known for known in protocol.folds if classes[0] in protocol.novel_classes(known)), None)
    if fold is None:
        raise UserError(f"{where}: class {protocol.class_name(classes[0])!r} is held out in no fold")
    wrong = [protocol.class_name(c) for c in classes if c not in protocol.novel_classes(fold)]
    if wrong:
        raise UserError(f"{where}: {wrong[0]!r} is not held out in fold {fold}")
    return Placed(row, fold, classes)


def _check_one_name(placed: Sequence[Placed], reading: Reading) -> None:
    """Where classes have a name and a number, a number stands for one class of a fold.

    Raises:
        UserError: it stands for two.
    """
    seen: dict[tuple[int, int], int] = {}
    for each in placed if reading.scope == "name" else ():
        for texts, c in zip(each.row.classes, each.classes, strict=True):
            for value in (number(text) for text in texts if len(texts) > 1):
                if value is not None and seen.setdefault((each.fold, value), c) != c:
                    raise UserError(f"line {each.row.line}: class {value} has another name than before")


def _label(texts: Sequence[str], reading: Reading, protocol: Protocol, fold: int | None, where: str) -> int:
    """The label value of a class."""
    shown = " and ".join(repr(text[:_SHOWN]) for text in texts)
    if reading.scope == "name":
        found = {name for text in texts if (name := class_name(text, protocol)) is not None}
        if not found:
            raise unknown("class", texts[0][:_SHOWN], protocol.classes, where)
        if len(found) > 1:
            raise UserError(f"{where}: {shown} are two classes")
        return protocol.class_id(found.pop())
    values = {number(text) for text in texts}
    value = values.pop()
    if values or value is None:
        raise UserError(f"{where}: {shown} is not one number")
    place = value - reading.class_base
    pool = range(1, len(protocol.classes) + 1)
    known = protocol.novel_classes(fold) if reading.scope == "fold" and fold is not None else pool
    if not 0 <= place < len(known):
        raise UserError(f"{where}: there is no class {value} then")
    return known[place]


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _words(reading: Reading) -> str:
    fold = "" if reading.fold_base is None else f"folds from {reading.fold_base}, "
    if reading.scope == "name":
        return f"{fold}classes by name"
    what = "class numbers" if reading.scope == "all" else "places in the fold"
    return f"{fold}{what} from {reading.class_base}"


def _example(reading: Reading) -> str:
    first = reading.placed[0]
    return f"line {first.row.line} is fold {first.fold}, class {', '.join(map(str, first.classes))}"
