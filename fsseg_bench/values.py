"""Settings as users give them: text from a shell or values from Python, checked, and as text again."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin

from fsseg_bench.errors import UserError

_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def checked_value(name: str, given: Any, kind: Any) -> Any:
    """``given`` as a value of an annotated type.

    Text is read as a shell would give it: ``a,b`` for a tuple, ``x=1,y=2`` for a mapping (or either as JSON, for
    elements with commas), ``none``, ``true``. Any other Python value is taken as it is and only checked: a list is a
    tuple, a whole number is a number, a path is text; ``True`` is no number, and 2.0 is no whole number.

    Args:
        name: what messages call it.
        given: text, or a Python value (JSON's included).
        kind: bool, int, float, str, Literal, tuple[X, ...], tuple[X, Y], Mapping[str, X] or a union of these and None.

    Raises:
        UserError: it does not fit; names ``name``, what was given and what is allowed.
    """
    if not settable(kind):
        raise UserError(
            f"{name} has the type {type_text(kind)}, which cannot be set from outside; use bool, int, float, str, "
            "Literal, tuple, Mapping, or one of them | None"
        )
    given = plain_value(given)
    origin = get_origin(kind)
    if origin is Literal:
        return _literal(name, given, get_args(kind))
    if origin is tuple:
        return _tuple(name, given, get_args(kind))
    if origin in _MAPPINGS:
        return _mapping(name, given, get_args(kind)[1])
    if origin in _UNIONS:
        return _union(name, given, get_args(kind))
    return _scalar(name, given, kind)


def settable(kind: Any) -> bool:
    """Whether :func:`checked_value` knows the type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return all(isinstance(a, (str, int, float)) for a in arguments)
    if origin is tuple:
        return bool(arguments) and all(a is Ellipsis or settable(a) for a in arguments)
    if origin in _MAPPINGS:
        return arguments[0] is str and settable(arguments[1])
    if origin in _UNIONS:
        return all(a is types.NoneType or settable(a) for a in arguments)
    return kind in _SCALARS


def type_text(kind: Any) -> str:
    """An annotation as one writes it."""
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


def plain_value(given: Any) -> Any:
    """A Python value in JSON's types: tuples as lists, paths as text, numpy's numbers and arrays as Python's."""
    if isinstance(given, Mapping):
        return {key: plain_value(value) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [plain_value(value) for value in given]
    if isinstance(given, PurePath):
        return str(given)
    if hasattr(given, "dtype") and callable(getattr(given, "tolist", None)):
        return given.tolist()
    return given


def text_of(value: Any) -> str:
    """A value as one writes it in ``--set``; :func:`checked_value` reads it back."""
    value = plain_value(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        texts = [text_of(v) for v in value]
        plain = ",".join(texts)
        return plain if _flat(value) and list_of(plain) == texts else _json(value)
    if isinstance(value, Mapping):
        pairs = {str(key): text_of(v) for key, v in value.items()}
        plain = ",".join(f"{key}={text}" for key, text in pairs.items())
        return plain if _flat(value.values()) and _pairs_of(plain) == pairs else _json(value)
    return str(value)


def list_of(text: str) -> list[Any]:
    """The elements that the text of a tuple names: separated by commas, or a JSON list."""
    if isinstance(found := _read_json(text), list):
        return found
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs_of(text: str) -> Any:
    """The names and values that the text of a mapping gives: separated by commas, or a JSON object; None: neither."""
    if isinstance(found := _read_json(text), dict):
        return found
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    return found if len(found) == len(pairs) and all(found) else None


def _flat(values: Iterable[Any]) -> bool:
    return not any(isinstance(value, (list, Mapping)) for value in values)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_json(text: str) -> Any:
    """The content of a JSON list or object; None for any other text."""
    if text.strip()[:1] not in {"[", "{"}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(name: str, given: Any, allowed: tuple[Any, ...]) -> Any:
    for value in allowed:
        if given == (text_of(value) if isinstance(given, str) else value) and (
            isinstance(given, str) or type(given) is type(value)
        ):
            return value
    raise _refused(name, given, f"use one of: {', '.join(map(text_of, allowed))}")


def _tuple(name: str, given: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(given, str):
        given = list_of(given)
    if not isinstance(given, list):
        raise _refused(name, given, "it must be a list")
    if Ellipsis in kinds:
        return tuple(checked_value(name, value, kinds[0]) for value in given)
    if len(given) != len(kinds):
        raise _refused(name, given, f"it must hold {len(kinds)} values")
    return tuple(checked_value(name, value, kind) for value, kind in zip(given, kinds, strict=True))


def _mapping(name: str, given: Any, kind: Any) -> dict[str, Any]:
    if isinstance(given, str):
        if (pairs := _pairs_of(given)) is None:
            raise _refused(name, given, "write NAME=VALUE,NAME=VALUE, each name once")
        given = pairs
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise _refused(name, given, "it must be a mapping from names to values")
    return {key: checked_value(name, value, kind) for key, value in given.items()}


def _union(name: str, given: Any, kinds: tuple[Any, ...]) -> Any:
    """The value in the first of several types that takes it; what is none of them is told by the first."""
    if types.NoneType in kinds and (given is None or (isinstance(given, str) and given.lower() == "none")):
        return None
    errors = []
    for kind in (kind for kind in kinds if kind is not types.NoneType):
        try:
            return checked_value(name, given, kind)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def _scalar(name: str, given: Any, kind: Any) -> Any:
    shown = given
    if kind is float and type(given) is int:
        given = _converted(given, float)
    elif isinstance(given, str) and kind is bool:
        given = {"true": True, "false": False}.get(given.lower(), given)
    elif isinstance(given, str) and kind is not str:
        given = _converted(given, kind)
    if type(given) is not kind:
        allowed = _SCALARS[kind]
        raise _refused(name, shown, f"use {allowed}") if kind is bool else _refused(name, shown, allowed, " is not ")
    if kind is float and not math.isfinite(given):
        raise _refused(name, shown, "a finite number", " is not ")
    return given


def _converted(given: Any, kind: Any) -> Any:
    """``given`` as a number; itself where it is none."""
    try:
        return kind(given)
    except (ValueError, OverflowError):
        return given


def _refused(name: str, given: Any, allowed: str, words: str = " is not allowed; ") -> UserError:
    return UserError(f"{name}={text_of(given)}{words}{allowed}")


_MAPPINGS = {Mapping, dict}
_UNIONS = {Union, types.UnionType}
