"""Settings as users give them: text from a shell or values from Python, checked, and as text again."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args, get_origin

from fsseg_bench.errors import UserError
from fsseg_bench.schema import MAPPINGS, TABLE, UNIONS, MisfitError, Range, fitted

_SCALARS = {bool, int, float, str}
_DEPTHS = {"recipe": 1, "protocol": 2, "stage": 2, "weights": 1}
"""How many tables lie in one another under the first name of a setting."""


def checked_value(name: str, given: Any, kind: Any) -> Any:
    """``given`` as a value of an annotated type.

    Text is read as a shell would give it: ``a,b`` for a tuple, ``x=1,y=2`` for a mapping (or either as JSON, for
    elements with commas), ``none``, ``true``. Any other Python value is taken as it is and only checked: a list is a
    tuple, a whole number is a number, a path is text; ``True`` is no number, and 2.0 is no whole number.

    Args:
        name: what messages call it.
        given: text, or a Python value (JSON's included).
        kind: bool, int, float, str, Literal, tuple[X, ...], tuple[X, Y], Mapping[str, X], a union of these and None,
            any of them Annotated (see :mod:`fsseg_bench.schema`).

    Raises:
        UserError: it does not fit; names ``name``, what was given and what is allowed.
    """
    if not settable(kind):
        raise UserError(
            f"{name} has the type {type_text(kind)}, which cannot be set from outside; use bool, int, float, str, "
            "Literal, tuple, Mapping, or one of them | None"
        )
    try:
        return fitted(plain_value(given), kind, name, from_text)
    except MisfitError as misfit:
        if isinstance(misfit.condition, Range):
            raise UserError(str(misfit)) from None
        if misfit.allowed or misfit.words == "true or false":
            raise UserError(f"{name}={text_of(misfit.value)} is not allowed; use {misfit.words}") from None
        advice = "; write NAME=VALUE,NAME=VALUE, each name once" if misfit.words == TABLE else ""
        raise UserError(f"{name}={text_of(misfit.value)} is not {misfit.words}{advice}") from None


def settable(kind: Any) -> bool:
    """Whether :func:`checked_value` knows the type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return settable(arguments[0])
    if origin is Literal:
        return all(isinstance(a, (str, int, float)) for a in arguments)
    if origin is tuple:
        return bool(arguments) and all(a is Ellipsis or settable(a) for a in arguments)
    if origin in MAPPINGS:
        return arguments[0] is str and settable(arguments[1])
    if origin in UNIONS:
        return all(a is types.NoneType or settable(a) for a in arguments)
    return kind in _SCALARS


def type_text(kind: Any) -> str:
    """An annotation as one writes it, without its conditions."""
    if get_origin(kind) is Annotated:
        return type_text(get_args(kind)[0])
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


def from_text(given: Any, kind: Any) -> Any:
    """Text from a shell as the value that it stands for in a type; all else, and text that fits none, as it is."""
    if not isinstance(given, str):
        return given
    origin = get_origin(kind)
    if origin is Literal:
        return next((choice for choice in get_args(kind) if text_of(choice) == given), given)
    if origin is tuple:
        return list_of(given)
    if origin in MAPPINGS:
        return _pairs_of(given)
    if kind is bool:
        return {"true": True, "false": False}.get(given.lower(), given)
    if kind is types.NoneType:
        return None if given.lower() == "none" else given
    try:
        return kind(given) if kind in {int, float} else given
    except ValueError:
        return given


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


def key_values(pairs: Iterable[str], option: str, example: str, *, empty: bool = True) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping; messages name the option and show the example.

    Raises:
        UserError: no ``=``, or a key given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not (value or empty):
            raise UserError(f"{option} {pair}: use KEY=VALUE, for example {example}")
        if key in values:
            raise UserError(f"{option} {key} is given twice")
        values[key] = value
    return values


def flat_settings(content: Any, where: str) -> dict[str, Any]:
    """Settings of a TOML table by their whole names: ``[set.recipe] lr = 1`` is ``recipe.lr``.

    Raises:
        UserError: ``content`` is no table; says so after ``where``.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where} is no table; write [set] and below it, for example, recipe.lr = 0.001")

    def entries(table: Mapping[str, Any], prefix: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            deeper = _DEPTHS.get(key, 0) if not prefix else depth - 1
            if isinstance(value, Mapping) and deeper > 0:
                found |= entries(value, f"{prefix}{key}.", deeper)
            else:
                found[f"{prefix}{key}"] = value
        return found

    return entries(content, "", 0)


def list_of(text: str) -> list[Any]:
    """The elements that the text of a tuple names: separated by commas, or a JSON list."""
    if isinstance(found := _read_json(text), list):
        return found
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs_of(text: str) -> Any:
    """The names and values that the text of a mapping gives: separated by commas, or a JSON object; text: neither."""
    if isinstance(found := _read_json(text), dict):
        return found
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    return found if len(found) == len(pairs) and all(found) else text


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
