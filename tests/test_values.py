"""Settings from text and from Python: one type each, nothing lost, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsseg_bench.engine.switches import parse_switches, switch_types
from fsseg_bench.errors import UserError
from fsseg_bench.recipe import Recipe
from fsseg_bench.registry import find_method, method_names
from fsseg_bench.storage.json_text import plain
from fsseg_bench.values import checked_value, flat_settings, text_of


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("7", int, 7),
        ("-7", int, -7),
        ("7", float, 7.0),
        ("1e-3", float, 1e-3),
        ("7", str, "7"),
        ("", str, ""),
        ("TRUE", bool, True),
        ("false", bool, False),
        ("b", Literal["a", "b"], "b"),
        ("2", Literal[1, 2], 2),
        ("1,2", tuple[float, ...], (1.0, 2.0)),
        ("a, b,", tuple[str, ...], ("a", "b")),
        ("a.=2,b=0.5", Mapping[str, float], {"a.": 2.0, "b": 0.5}),
        ("", Mapping[str, float], {}),
        ("none", int | None, None),
        ("None", float | None, None),
        ("3", int | None, 3),
        ("3", Optional[int], 3),  # noqa: UP045
        ("none", Optional[int], None),  # noqa: UP045
        # values from Python
        (3, float, 3.0),
        (np.float32(0.5), float, 0.5),
        (np.int64(7), int, 7),
        (np.bool_(True), bool, True),
        ([1, 2], tuple[int, ...], (1, 2)),
        (np.array([0.5, 1.0]), tuple[float, ...], (0.5, 1.0)),
        (("a, b.txt", "c=d,e.txt"), tuple[str, ...], ("a, b.txt", "c=d,e.txt")),
        ((Path("a b/c.txt"),), tuple[str, ...], ("a b/c.txt",)),
        ({"a,b": 2, "c=d": 0.5}, Mapping[str, float], {"a,b": 2.0, "c=d": 0.5}),
        ({"a": (1, 2)}, Mapping[str, tuple[int, ...]], {"a": (1, 2)}),
        (None, float | None, None),
        (False, bool | None, False),
        (2, Literal[1, 2], 2),
        (False, Literal[False], False),
        ((1, "x"), tuple[int, str], (1, "x")),
        ('["a, b", "c"]', tuple[str, ...], ("a, b", "c")),
        ('{"a,b": 1}', Mapping[str, float], {"a,b": 1.0}),
    ],
)
def test_what_is_given_becomes_a_value_of_its_type(given: Any, kind: Any, expected: Any) -> None:
    value = checked_value("name", given, kind)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("yes", bool, "steps=yes is not allowed; use true or false"),
        ("3", Literal[1, 2], "steps=3 is not allowed; use one of: 1, 2"),
        ("x", int | None, "steps=x is not a whole number"),
        ("1,x", tuple[float, ...], "steps=x is not a number"),
        ("a.:2", Mapping[str, float], "steps=a.:2 is not a table; write NAME=VALUE,NAME=VALUE, each name once"),
        ("a.=x", Mapping[str, float], "steps=x is not a number"),
        ("-inf", float, "steps=-inf is not a finite number"),
        # values from Python
        (True, int, "steps=true is not a whole number"),
        (True, float, "steps=true is not a number"),
        (1, bool, "steps=1 is not allowed; use true or false"),
        (2.0, int, "steps=2.0 is not a whole number"),
        (float("nan"), float, "steps=nan is not a finite number"),
        (5, str, "steps=5 is not text"),
        (0.5, tuple[float, ...], "steps=0.5 is not a list"),
        ({1, 2}, tuple[int, ...], "steps={1, 2} is not a list"),
        ([1, True], tuple[int, ...], "steps=true is not a whole number"),
        ([1], Mapping[str, float], "steps=1 is not a table; write NAME=VALUE,NAME=VALUE, each name once"),
        ({1: 2.0}, Mapping[str, float], "steps=1=2.0 is not a table; write NAME=VALUE,NAME=VALUE, each name once"),
        (True, Literal[1, 2], "steps=true is not allowed; use one of: 1, 2"),
        (None, int, "steps=none is not a whole number"),
        ((1, 2), tuple[int, int, int], "steps=1,2 is not a list of 3 values"),
        ("a=1,a=2", Mapping[str, float], "steps=a=1,a=2 is not a table; write NAME=VALUE,NAME=VALUE, each name once"),
        ("9" * 400, float, f"steps={'9' * 400} is not a finite number"),
    ],
)
def test_what_is_given_of_another_type_is_refused(given: Any, kind: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        checked_value("steps", given, kind)
    assert str(error.value) == message


@pytest.mark.parametrize("kind", [list[int], Any, dict, tuple, Mapping[int, str], int | list[int]])
def test_types_that_no_text_can_give_are_refused(kind: Any) -> None:
    with pytest.raises(UserError, match=r"steps has the type .* which cannot be set from outside"):
        checked_value("steps", "1", kind)


# There and back


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        kind, conditions = arguments[0], arguments[1:]
        numbers = (
            st.sampled_from([kind(number) for number in (0, 0.25, 0.5, 1, 3, 11)])
            if kind in {int, float}
            else values(kind)
        )
        return numbers.filter(lambda value: all(condition.fits(value) for condition in conditions))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return st.tuples(*map(values, arguments))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=4).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.text(min_size=1, max_size=9), values(arguments[1]), max_size=4)
    if arguments:
        return st.one_of([st.none() if a is type(None) else values(a) for a in arguments])
    plain_kinds = {
        bool: st.booleans(),
        int: st.integers(1 - 2**63, 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    }
    return plain_kinds[kind]


@cache
def settings_of_everything() -> list[tuple[str, Any]]:
    """Name and type of each key of a recipe and of each switch of each method, and types that none has yet."""
    kinds = [(f"recipe.{key}", kind) for key, kind in get_type_hints(Recipe).items() if key != "sources"]
    for name in method_names():
        kinds += [(f"{name}.{key}", kind) for key, kind in switch_types(find_method(name)).items()]
    others = (tuple[str, ...], Mapping[str, str], Mapping[str, tuple[str, ...]], bool | None, tuple[float, ...] | None)
    return [*kinds, *((f"other {kind}", kind) for kind in others)]


@settings(deadline=None)
@given(st.data())
def test_text_and_a_records_json_give_the_value_back(data: st.DataObject) -> None:
    name, kind = data.draw(st.sampled_from(settings_of_everything()))
    value = data.draw(values(kind))
    stored = json.loads(json.dumps(plain(value)))
    for form in (value, stored, text_of(value), text_of(stored)):
        back = checked_value(name, form, kind)
        assert back == value
        assert repr(back) == repr(value)  # 1 is not True, 1.0 is not 1


@pytest.mark.parametrize("name", method_names())
def test_the_switches_of_a_record_are_the_switches_of_its_run(name: str) -> None:
    cls = find_method(name)
    defaults = parse_switches(name, cls, {})
    stored = json.loads(json.dumps(plain(defaults)))
    assert parse_switches(name, cls, stored) == defaults
    assert parse_switches(name, cls, {key: text_of(value) for key, value in stored.items()}) == defaults


def test_settings_of_a_file_may_be_tables_as_deep_as_their_names() -> None:
    content = {"steps": 1, "stage": {"base": {"lr_factors": {"a.": 2}}}, "weights": {"supervision": "none"}}
    assert flat_settings(content, "file") == {
        "steps": 1,
        "stage.base.lr_factors": {"a.": 2},
        "weights.supervision": "none",
    }
