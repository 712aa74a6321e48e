"""Conditions on runs, ``KEY=VALUE``: which settings they may name, and which runs fulfil them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.words import HEX, given_list
from fsseg_bench.values import key_values

_SHORTEST_PREFIX = 6
_NO_LIST = "none"
"""What ``episodes`` is, where none were given as a list."""


def conditions_of(pairs: Iterable[str], option: str) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping.

    Raises:
        UserError: no ``=``, or a key given twice; names ``option``.
    """
    return key_values(pairs, option, "recipe.iterations=0", empty=False)


def parameters_of(run: StoredRun) -> dict[str, str]:
    """Where the parameters are from: a run and the evaluation of its checkpoint are not one contender."""
    found = run.settings.parameters
    return {"parameters": "own" if found in {"here", "untrained"} else found}


def shown_value(value: Any) -> str:
    """A setting's value in a message: digests shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:8] if HEX.fullmatch(text) else text


def fitting_runs(text: str, runs: Sequence[StoredRun], key: str, value: str) -> list[StoredRun]:
    """The runs that fulfil ``key=value``.

    Raises:
        UserError: no run does, or no setting is called so; begins with ``text``, which asked for them.
    """
    leaves = [(run, run.settings.leaves() | parameters_of(run)) for run in runs]
    names = {name for _, settings in leaves for name in settings}
    if key == "dataset":
        fitting = [run for run in runs if value in _datasets(run)]
        values = {name for run in runs for name in _datasets(run)}
    elif key == "episodes":
        fitting = [run for run in runs if value in _lists(run)]
        values = {given_list(run) or _NO_LIST for run in runs}
    else:
        full = _full_name(text, key, names)
        fitting = [run for run, settings in leaves if _equal(value, settings.get(full))]
        values = {shown_value(settings.get(full)) for _, settings in leaves}
    if not fitting:
        raise UserError(f"{text}: no run has {key}={value}; there is {', '.join(sorted(values))}")
    return fitting


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
