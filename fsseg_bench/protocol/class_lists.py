"""The class names of a protocol file: written out, or in list files with one name a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import one_line, regular
from fsseg_bench.protocol.data_spec import is_list_file


class ClassName(NamedTuple):
    """A name, and where it is written."""

    name: str
    where: str
    """The protocol file and the key, or list file and line; for messages."""


class ClassNames(NamedTuple):
    """All class names of a protocol file, list files read."""

    classes: tuple[str, ...]
    folds: dict[int, tuple[str, ...]]
    base: tuple[str, ...]
    validation: tuple[str, ...]


def read_class_names(keys: Mapping[str, Sequence[str]], path: Path) -> ClassNames:
    """The names of ``classes``, ``folds.1``, ``folds.2``, ..., ``base`` and ``validation``, checked.

    Nothing but the names is kept of a list file: a protocol that has the same names written out has equal rules.

    Args:
        keys: by key the names and list files; ``base`` and ``validation`` may be empty.
        path: the protocol file; list files are relative to its folder.

    Raises:
        UserError: a list file cannot be read or is empty, a name is empty, unknown or there twice, or is in two of
            folds, ``base`` and ``validation``. Names the key, or list file and line.
    """
    found = {key: list(_names(key, entries, path)) for key, entries in keys.items()}
    for key, names in found.items():
        if names or key not in {"base", "validation"}:
            check_names(key, names, path)
    known = {one.name for one in found["classes"]}
    place: dict[str, str] = {}
    parts = {key: names for key, names in found.items() if key != "classes"}
    for key, names in parts.items():
        for name, where in names:
            if name not in known:
                raise unknown("class", name, known, where=where)
            if name in place:
                before = where.removesuffix(f": {key}")
                raise UserError(f"{before}: class {name!r} is in {place[name]} and in {_words(key)}; one is allowed")
            place[name] = _words(key)
    plain = {key: tuple(one.name for one in names) for key, names in found.items()}
    numbered = {int(key.removeprefix("folds.")): names for key, names in plain.items() if key.startswith("folds.")}
    return ClassNames(plain["classes"], numbered, plain["base"], plain["validation"])


def check_names(key: str, names: Sequence[ClassName], path: Path) -> None:
    """Refuses a list that is empty, holds an empty name, or one name twice.

    Raises:
        UserError: it does; names the key, or list file and line.
    """
    if not names:
        raise UserError(f"{path}: {key} is empty; it needs at least one name")
    first: dict[str, str] = {}
    twice: dict[str, ClassName] = {}
    for one in names:
        if not one.name.strip():
            raise UserError(f"{path}: {key} holds an empty name")
        if one.name in first:
            twice.setdefault(one.name, one)
        first.setdefault(one.name, one.where)
    here = f"{path}: {key}"
    if listed := next((one for one in twice.values() if {one.where, first[one.name]} != {here}), None):
        raise UserError(f"{listed.where}: {key}: {listed.name!r} is there twice; first in {first[listed.name]}")
    if twice:
        raise UserError(f"{here} names {', '.join(sorted(twice))} more than once")


def written_out(key: str, names: Sequence[str], path: Path) -> list[ClassName]:
    """``names`` of a key as they stand in the protocol file."""
    where = f"{path}: {key}"
    return [ClassName(name, where) for name in names]


def _words(key: str) -> str:
    return key.replace("folds.", "fold ")


def _names(key: str, entries: Sequence[str], path: Path) -> Iterator[ClassName]:
    for entry in entries:
        if is_list_file(entry):
            yield from _of_file((path.parent / Path(entry).expanduser()).absolute(), key, path)
        else:
            yield from written_out(key, [entry], path)


def _of_file(file: Path, key: str, path: Path) -> Iterator[ClassName]:
    """The names of a list file, spaces at their ends taken off; empty lines are skipped."""
    lines = [(i, line.strip()) for i, line in enumerate(_text(file, key, path).splitlines(), start=1)]
    if not any(name for _, name in lines):
        raise UserError(f"{path}: {key}: the list file {file} is empty; each line must be a class name")
    for number, name in lines:
        if not one_line(name):
            raise UserError(f"{file}, line {number}: {name!a} is no class name: it holds a control character")
        if name:
            yield ClassName(name, f"{file}, line {number}")


def _text(file: Path, key: str, path: Path) -> str:
    """UTF-8 or, as PowerShell writes it, UTF-16, with or without a byte order mark."""
    try:
        data = regular(file).read_bytes()
        return data.decode(json.detect_encoding(data))
    except FileNotFoundError:
        raise UserError(
            f"{path}: {key} names the list file {file}, which does not exist (an entry that ends in .txt is a file, "
            "relative to the protocol file)"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {key}: {file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: the list file cannot be read: {error}; save it as UTF-8") from None
