"""Which runs have a setting, by its name and its value as text: the conditions that commands and Python share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import PurePath
from typing import Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import RunSettings, flat
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.words import HEX, given_list

EXAMPLE = "recipe.iterations=0"
"""Of a condition, for messages."""
_SHORTEST_PREFIX = 6
_NO_LIST = "none"
"""What ``episodes`` is, where none were given as a list."""


def chosen(collection: Collection, methods: Sequence[str], where: Mapping[str, str]) -> Collection:
    """The runs of ``methods`` (none: all) that fulfil all conditions; ``left_out`` says how many others there are.

    Args:
        collection: finished and unfinished runs.
        methods: names.
        where: as for :func:`fitting`.

    Raises:
        UserError: no run has a method or a value, or no setting is called so.
    """
    everything = [*(run.record for run in collection.done), *collection.unfinished]
    kept, place = everything, str(collection.root)
    if not everything:
        return collection
    if methods:
        kept = [run for name in dict.fromkeys(methods) for run in of_method(kept, name, place)]
    for key, value in where.items():
        kept = fitting(kept, key, value, place)
    folders = {run.folder for run in kept}
    return replace(
        collection,
        done=tuple(run for run in collection.done if run.record.folder in folders),
        unfinished=tuple(run for run in collection.unfinished if run.folder in folders),
        left_out=len(everything) - len(kept),
    )


def of_method(runs: Sequence[StoredRun], method: str, text: str) -> list[StoredRun]:
    """The runs of a method.

    Raises:
        UserError: there are none; begins with ``text``.
    """
    found = [run for run in runs if run.settings.method == method]
    if not found:
        raise unknown("method among the runs", method, {run.settings.method for run in runs}, text)
    return found


def fitting(runs: Sequence[StoredRun], key: str, value: str, text: str) -> list[StoredRun]:
    """The runs that fulfil ``key=value``.

    Args:
        runs: at least one.
        key: a setting by its dotted name (``recipe.lr``), or its last part where only one setting ends so. ``dataset``
            is a protocol's label, name or file; ``episodes`` is the list that was replayed, its name or its path, or
            ``none``; ``parameters`` is ``own``, ``checkpoint`` or ``unknown``.
        value: as text; of a digest the first digits.
        text: who asked for them, which messages begin with.

    Raises:
        UserError: no run does, or no setting is called so.
    """
    leaves = [(run, dict(flat(run.settings.to_json())) | parameters_of(run)) for run in runs]
    optional = {one.name for one in fields(RunSettings) if one.default is None}  # null where none of the runs has it
    names = {name for _, settings in leaves for name in settings} | optional
    if key == "dataset":
        found = [run for run in runs if value in _datasets(run)]
        values = {name for run in runs for name in _datasets(run)}
    elif key == "episodes":
        found = [run for run in runs if value in _lists(run)]
        values = {given_list(run) or _NO_LIST for run in runs}
    else:
        full = _full_name(text, key, names)
        found = [run for run, settings in leaves if _equal(value, settings.get(full))]
        values = {shown_value(settings.get(full)) for _, settings in leaves}
    if not found:
        raise UserError(f"{text}: no run has {key}={value}; there is {', '.join(sorted(values))}")
    return found


def parameters_of(run: StoredRun) -> dict[str, str]:
    """Where the parameters are from: a run and the evaluation of its checkpoint are not one contender."""
    found = run.settings.parameters
    return {"parameters": "own" if found in {"here", "untrained"} else found}


def shown_value(value: Any) -> str:
    """A setting's value in a message: digests shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:8] if HEX.fullmatch(text) else text


def _datasets(run: StoredRun) -> set[str]:
    """What a user may call the run's protocol."""
    return {run.settings.protocol_label, run.settings.protocol, run.info.passed.dataset} - {""}


def _lists(run: StoredRun) -> set[str]:
    """What a user may call the run's list of episodes."""
    given = given_list(run)
    return {given, PurePath(given).name} if given else {_NO_LIST}


def _full_name(text: str, key: str, names: set[str]) -> str:
    if key in names:
        return key
    ending = sorted(name for name in names if name.endswith(f".{key}"))
    if len(ending) > 1:
        raise UserError(f"{text}: {key} may be {' or '.join(ending)}; give the whole name")
    if not ending:
        raise unknown("setting", key, names, text)
    return ending[0]


def _equal(text: str, value: Any) -> bool:
    """Whether ``text`` means ``value``: as it is, as JSON, or the first digits of a digest."""
    if isinstance(value, str):
        return value == text or (
            len(text) >= _SHORTEST_PREFIX and bool(HEX.fullmatch(value)) and value.startswith(text)
        )
    try:
        parsed = json.loads(text.lower() if isinstance(value, bool) else text)
    except ValueError:
        return False
    return isinstance(parsed, bool) == isinstance(value, bool) and parsed == value
