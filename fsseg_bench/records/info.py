"""The content of run.json: written with a check over all of it, and looked through before anything uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.protocol.spec import MOST_CLASSES
from fsseg_bench.records.identity import canonical_json, identity_hash
from fsseg_bench.records.trained import problem_with_trained
from fsseg_bench.storage.json_text import plain, strict_json, write_json

SCHEMA: Final = 1
"""Version of run.json's layout."""
RUN_FILE: Final = "run.json"
FOLDS: Final = "folds"
"""How many folds the protocol has; records of earlier versions do not say, and theirs had :data:`FOLDS_BEFORE`."""
FOLDS_BEFORE: Final = 4
CHECK: Final = "check"
"""SHA-256 of everything else in run.json; records of earlier versions have none."""

Status = Literal["new", "training", "evaluating", "done", "failed"]
"""``new``: nothing done yet; ``failed``: stopped by an error, can go on; ``done``: never written again."""


class RecordError(UserError):
    """A record that cannot be used; the message names it and says why."""


def read_info(path: Path) -> dict[str, Any]:
    """The content of a run.json, every value of the type that its readers take it for.

    Raises:
        RecordError: it cannot be read, is truncated, edited, of another schema or status, or a value has a type or
            range that it cannot have; names it and what is wrong.
    """
    try:
        info = strict_json(regular(path).read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON, truncated or edited: {error}") from None
    if not isinstance(info, dict) or info.get("schema") != SCHEMA or type(info["schema"]) is not int:
        raise RecordError(f"{path}: not a record of schema {SCHEMA}")
    if info.get("status") not in get_args(Status):
        raise RecordError(f"{path}: status is {info.get('status')!r}; known: {', '.join(get_args(Status))}")
    settings = info.get("settings")
    if not isinstance(settings, dict):
        raise RecordError(f"{path}: settings is missing")
    _check_settings(settings, path)
    folds = info.get(FOLDS, FOLDS_BEFORE)
    if not _whole(folds) or not 1 <= settings["fold"] <= folds <= MOST_CLASSES:
        raise RecordError(f"{path}: settings.fold is {settings['fold']} of {_shown(folds)}; there is no such fold")
    if identity_hash(settings) != info.get("identity"):
        raise RecordError(f"{path}: edited: its settings do not have the identity it states")
    if CHECK in info and info[CHECK] != _check_of(info):
        raise RecordError(f"{path}: edited or damaged: its content does not have the SHA-256 it states")
    if problem := problem_with_trained(info.get("trained")):
        raise RecordError(f"{path}: {problem}")
    for key, kind in _FIELDS.items():
        if key in info and not kind(info[key]):
            raise RecordError(f"{path}: {key} is {_shown(info[key])}; no version of fsseg-bench writes that")
    return info


def write_info(path: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces run.json by ``info`` with its check; returns what was written.

    Raises:
        UserError: full disk or unwritable folder; names ``path``.
    """
    content = {**plain(info), CHECK: _check_of(info)}
    write_json(path, content)
    return content


def _check_of(info: Mapping[str, Any]) -> str:
    content = {key: value for key, value in info.items() if key != CHECK}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# What values may be. Readers rely on it: a table, a page or a command is made without looking again.

_Kind = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return type(value) in {int, float}


def is_scalar(value: Any) -> bool:
    """Whether a value is text, a number, true, false or nothing."""
    return value is None or isinstance(value, (str, int, float))


def _value(value: Any) -> bool:
    """A setting: a scalar, a list of such, or a table of such."""
    if isinstance(value, list):
        return all(map(_value, value))
    return all(map(_value, value.values())) if isinstance(value, dict) else is_scalar(value)


def _maybe(kind: _Kind) -> _Kind:
    return lambda value: value is None or kind(value)


def _list(kind: _Kind) -> _Kind:
    return lambda value: isinstance(value, list) and all(map(kind, value))


def _table(kind: _Kind) -> _Kind:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _fields(**kinds: _Kind) -> _Kind:
    """A table whose values of these keys, where they are there, are of these kinds."""
    return lambda value: (
        isinstance(value, dict) and all(kind(value[key]) for key, kind in kinds.items() if key in value)
    )


_PASSED = {
    **dict.fromkeys(("method", "dataset", "device", "precision"), _text),
    **dict.fromkeys(
        ("backbone", "weights", "data_root", "episodes", "eval_only", "out", "methods_path"), _maybe(_text)
    ),
    **dict.fromkeys(("fold", "way", "shot", "seed", "panels"), _whole),
    **dict.fromkeys(("iterations", "workers", "head_batch"), _maybe(_whole)),
    "cache_gib": _maybe(_number),
    "scales": _list(_number),
    "settings": _table(_value),
}
_TIMES = ("train_seconds", "evaluate_seconds", "evaluate_episodes", "evaluate_encoded_images")
_FIELDS: dict[str, _Kind] = {
    "created": _text,
    "reason": _maybe(_text),
    "device": _text,
    "lines": _text,
    "passed": _fields(**_PASSED),
    "provenance": _fields(
        fsseg_bench=_maybe(_text),
        python=_maybe(_text),
        platform=_maybe(_text),
        packages=_table(_maybe(_text)),
        git=_maybe(_table(is_scalar)),
        command=lambda value: _maybe(_text)(value) or _list(_text)(value),
    ),
    "timings": lambda value: _table(_value)(value) and _fields(**dict.fromkeys(_TIMES, _number))(value),
    "diagnostics": _table(_value),
    "scores": _table(_table(_maybe(_number))),
    "weights": _table(_value),
    "resumed": _list(_table(_value)),
    "episodes": _fields(count=_whole, sha256=_text),
    "files": _table(_text),
    "training": _table(_value),
}

_OPTIONAL: dict[str, _Kind] = {
    "precision": _text,
    "scales": _list(_number),
    "recipe": _table(_value),
    "switches": _table(_value),
    "class_names": _table(_text),
    "data_fingerprint": _text,
    "method_digest": _text,
    "weights": _maybe(_text),
    "weights_digest": _maybe(_text),
    "checkpoint_digest": _maybe(_text),
    "evaluated_digest": _text,
    "unlabelled_digest": _text,
    "base_classes": _whole,
}
_REQUIRED: dict[str, type] = {
    "protocol": str,
    "protocol_label": str,
    "protocol_version": int,
    "protocol_digest": str,
    "episode_digest": str,
    "method": str,
    "backbone": str,
    "fold": int,
    "way": int,
    "shot": int,
    "seed": int,
    "novel": list,
    "headline": str,
}
_NAMES: dict[str, str] = {"precision": "str", "scales": "list of numbers", "recipe": "dict", "switches": "dict"}


def _check_settings(settings: Mapping[str, Any], path: Path) -> None:
    for key, kind in _REQUIRED.items():
        if type(settings.get(key)) is not kind:
            found = _shown(settings.get(key))
            raise RecordError(f"{path}: settings.{key} is {found}; it must be of type {kind.__name__}")
    for key, fits in _OPTIONAL.items():
        if key in settings and not fits(settings[key]):
            wanted = f"; it must be of type {_NAMES[key]}" if key in _NAMES else ""
            raise RecordError(f"{path}: settings.{key} is {_shown(settings[key])}{wanted}")
    iterations = settings.get("recipe", {}).get("iterations", 0)
    if not _whole(iterations):
        raise RecordError(f"{path}: settings.recipe.iterations is {_shown(iterations)}; it must be of type int")
    novel = settings["novel"]
    if not novel or not all(_whole(value) and value >= 0 for value in novel) or len(set(novel)) < len(novel):
        raise RecordError(f"{path}: settings.novel must hold different whole numbers")
    if settings["way"] < 1 or settings["shot"] < 1 or settings["headline"] not in {"input", "native"}:
        raise RecordError(f"{path}: settings.way and shot must be at least 1 and settings.headline input or native")
