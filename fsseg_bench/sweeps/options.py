"""Options of a sweep's cells: the fields of a request by name, and each ``--set`` key behind ``set.``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.data_spec import LIST_KEYS
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.lists import absolute_lists, is_count
from fsseg_bench.records.command import absolute_checkpoint
from fsseg_bench.records.request import RunRequest
from fsseg_bench.schema import WrongError, fields_of, fitted
from fsseg_bench.values import flat_settings, list_of, plain_value, text_of

Options = Mapping[str, Any]
"""Values by option: ``method``, ``fold``, ..., and ``set.recipe.lr`` for ``--set recipe.lr``."""
Lists = Mapping[str, tuple[Any, ...]]
"""Several values of each option."""

SET: Final = "set."
_SETTINGS = {"set", "settings"}
_REFUSED = {
    "out": "write out = ... at the top of the file: all cells have one folder of records",
    "fresh": "leave it out: a sweep goes on from the records that there are; another out begins anew",
    "threads": "write it under [cell]: it is planned once, and the same wherever a cell goes on",
    "workers": "write it under [cell]",
    "identity": "leave it out: a sweep gives each cell its own",
    "jobs": "leave it out: how many cells are made at a time is a matter of the engine (sweep --jobs)",
}
"""What a request or the command line has and a cell's options must not, and what to do instead."""
_KINDS = {name: kind for name, kind, _ in fields_of(RunRequest) if name not in {*_REFUSED, "settings"}}
_PATHS = ("data_root", "eval_only", "methods_path", "backbones_path", "sources_path")
_LISTS = {f"{SET}protocol.data.{key}" for key in LIST_KEYS}
_CELL = ("threads", "workers")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*[a-z])")
ALL_FOLDS: Final = "all"


def read_options(table: Any, where: str) -> Options:
    """The options of a table in which each has one value: ``[common]``, ``[training]``.

    Raises:
        UserError: an unknown option, one that a cell cannot have, or a value that does not fit; names it after
            ``where``.
    """
    return {key: _value(key, value, where) for key, value in _entries(table, where).items()}


def read_lists(table: Any, where: str) -> Lists:
    """The options of a table in which each may have several values: ``[grid]``, ``[[also]]``, ``[[except]]``.

    A value that is itself a list (``scales``) stands in a list of lists.

    Raises:
        UserError: as :func:`read_options`, or a list is empty or names a value twice.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for key, given in _entries(table, where).items():
        values = given if isinstance(given, list) else [given]
        if not values:
            raise UserError(f"{where}.{key} is empty; give a value, or leave it out")
        found[key] = tuple(_value(key, value, where, several=True) for value in values)
        texts = [text_of(value) for value in found[key]]
        if twice := sorted({text for text in texts if texts.count(text) > 1}):
            raise UserError(f"{where}.{key} names {', '.join(twice)} more than once")
    return found


def keys_named(messages: Iterable[str]) -> str:
    """Which keys of a sweep's file the options of ``run`` are that ``messages`` name; empty where they name none."""
    named = dict.fromkeys(name for text in messages for name in _OPTION.findall(text))
    places = {name: _places(name) for name in named}
    told = [f"--{name} is {place}" for name, place in places.items() if place]
    return f"in a sweep's file: {', '.join(told)}" if told else ""


def _places(option: str) -> str:
    name = option.replace("-", "_")
    if name in _CELL:
        return f"{name} of [cell]"
    if name in _SETTINGS:
        return "a key of set, as set = { recipe.lr = 0.01 }"
    return name if name in _KINDS or name == "out" else ""


def given_or_default(options: Options, key: str) -> Any:
    """The value of an option; a setting that is not given has none."""
    return options.get(key, None if key.startswith(SET) else getattr(RunRequest(), key))


def request_of(options: Options) -> RunRequest:
    """The request that a cell's options make."""
    fields = {key: value for key, value in options.items() if not key.startswith(SET)}
    settings = {key.removeprefix(SET): value for key, value in options.items() if key.startswith(SET)}
    return RunRequest(**fields, settings=settings)


def whole_paths(options: Options) -> Options:
    """The options with absolute paths: what they mean, whatever folder they are read in."""
    return {key: _whole(key, value) for key, value in options.items()}


def _whole(key: str, value: Any) -> Any:
    if key in _LISTS:
        entries = list_of(value) if isinstance(value, str) else value
        return absolute_lists(entries, Path.cwd()) if isinstance(entries, list) else value
    named = not isinstance(value, str) or {
        "dataset": value in builtin_protocols(),
        "weights": value in {"none", "imagenet"},
        "episodes": is_count(str(value)),
    }.get(key, key not in _PATHS)
    if key == "eval_only":
        return absolute_checkpoint(value)
    return value if named else str(Path(value).expanduser().absolute())


def _entries(table: Any, where: str) -> dict[str, Any]:
    """The table with the names of fields as keys and plain values; settings by their whole names."""
    if not isinstance(table, Mapping):
        raise UserError(f"{where} is no table")
    found: dict[str, Any] = {}
    for given, content in table.items():
        name = str(given).replace("-", "_")
        if name in _REFUSED:
            raise UserError(f"{where}: {given} has no place here; {_REFUSED[name]}")
        if name in _SETTINGS:
            entries = {f"{SET}{key}": value for key, value in flat_settings(content, f"{where}.{given}").items()}
        elif name in _KINDS:
            entries = {name: content}
        else:
            raise unknown("option", str(given), [*_KINDS, "set"], where)
        for key, value in entries.items():
            if key in found:
                raise UserError(f"{where}: {key} is given twice")
            found[key] = plain_value(value)
    return found


def _value(key: str, value: Any, where: str, *, several: bool = False) -> Any:
    name = f"{where}.{key}"
    if key.startswith(SET):
        if not isinstance(value, (bool, int, float, str, list, dict, type(None))):
            raise UserError(f"{name} is {value}; it must be true or false, a number, text, a list or a table")
        return text_of(None) if value is None else value
    if key == "episodes" and type(value) is int:
        value = str(value)
    if key == "fold" and value == ALL_FOLDS:
        return value
    if key == "device" and ":" in str(value):
        raise UserError(f'{name} is {value}; write "{str(value).partition(":")[0]}": which one is the engine\'s choice')
    try:
        return fitted(value, _KINDS[key], name)
    except WrongError as wrong:
        nested = several and "a list" in str(wrong)
        advice = f"; it is a list itself: write {key} = [[1.0], [0.7, 1.0, 1.3]]" if nested else ""
        if isinstance(value, list) and not several:
            advice = "; several values go into [grid]"
        raise UserError(f"{wrong}{advice}") from None
