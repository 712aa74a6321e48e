"""Tables become dataclasses, or say which file and key is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.schema import Must, Range, check, later, parse, settings_of, shown


@dataclass(frozen=True)
class Inner:
    """A table in a table."""

    size: Annotated[int, Range(least=1, most=9)]
    names: tuple[Annotated[str, Must("lower case", str.islower)], ...] = ()


@dataclass(frozen=True)
class Outer:
    """One field of each kind."""

    rate: Annotated[float, Range(above=0)]
    mode: Literal["a", "b", 1] = "a"
    inner: Inner | None = None
    pair: tuple[int, str] = (0, "")
    tables: Mapping[str, Inner] = field(default_factory=dict)
    anything: Any = None
    text: str = ""
    flag: bool | int = False

    def __post_init__(self) -> None:
        """Refuses one rate."""
        if self.rate == 13:
            raise ValueError("rate is unlucky")


def test_values_arrive_in_the_types_of_the_annotations() -> None:
    found = parse(
        Outer,
        {
            "rate": 2,
            "mode": 1,
            "inner": {"size": 3, "names": ["x"]},
            "pair": [1, "y"],
            "tables": {"k": {"size": 9}},
            "anything": [None, {"z": 1}],
            "flag": True,
        },
        "file",
    )
    assert found == Outer(2.0, 1, Inner(3, ("x",)), (1, "y"), {"k": Inner(9)}, [None, {"z": 1}], flag=True)
    assert type(found.rate) is float
    assert parse(Outer, {"rate": 1.5}, "file") == Outer(1.5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "at.it is 5; it must be a table"),
        ({}, "missing at.it.rate"),
        ({"rate": 1, "mdoe": "a"}, "unknown key 'at.it.mdoe'. Did you mean 'at.it.mode'? Known: at.it.anything, "),
        ({"rate": "1"}, 'at.it.rate is "1"; it must be a number'),
        ({"rate": True}, "at.it.rate is true; it must be a number"),
        ({"rate": 0}, "at.it.rate is 0.0; it must be above 0"),
        ({"rate": float("nan")}, "at.it.rate is nan; it must be a finite number"),
        ({"rate": 10**400}, "at.it.rate is a number of 1329 bits; it must be a finite number"),
        ({"rate": 13}, "at.it.rate is unlucky"),
        ({"rate": 1, "mode": True}, 'at.it.mode is true; allowed: "a", "b", 1'),
        ({"rate": 1, "inner": {"size": 10}}, "at.it.inner.size is 10; it must be at least 1 and at most 9"),
        ({"rate": 1, "inner": {"size": 2**63}}, "at.it.inner.size is a number of 64 bits; it must be a number of at"),
        ({"rate": 1, "inner": {"size": 1, "names": "x"}}, 'at.it.inner.names is "x"; it must be a list'),
        ({"rate": 1, "inner": {"size": 1, "names": ["x", "Y"]}}, 'at.it.inner.names[1] is "Y"; it must be lower case'),
        ({"rate": 1, "inner": {"size": 1, "nmae": 2}}, "unknown key 'at.it.inner.nmae'. Did you mean"),
        ({"rate": 1, "pair": [1]}, "at.it.pair is [1]; it must be a list of 2 values"),
        ({"rate": 1, "tables": {"k": {"size": None}}}, "at.it.tables.k.size is null; it must be a whole number"),
        ({"rate": 1, "tables": {1: {}}}, "at.it.tables is a table; it must be a table"),
        ({"rate": 1, "text": "a\0b"}, 'at.it.text is "a\\u0000b"; it must be text without a NUL character'),
        ({"rate": 1, "flag": "x"}, 'at.it.flag is "x"; it must be true or false'),
    ],
)
def test_mistakes_name_the_file_the_key_and_what_is_allowed(table: Any, message: str) -> None:
    class OwnError(UserError):
        pass

    with pytest.raises(OwnError) as error:
        parse(Outer, table, "file", "at.it", error=OwnError)
    assert str(error.value).startswith(f"file: {message}")


def test_unknown_keys_are_passed_over_where_it_is_said() -> None:
    table = {"rate": 1, "later": 2, "inner": {"size": 1, "new": 3}}
    assert parse(Outer, table, "file", others=(Outer, Inner)) == Outer(1.0, inner=Inner(1))
    with pytest.raises(UserError, match=r"unknown key 'inner\.new'"):
        parse(Outer, table, "file", others=(Outer,))


def test_what_is_made_in_code_is_checked_by_the_same_annotations() -> None:
    check(Outer(1.0, inner=Inner(3)))
    with pytest.raises(UserError, match=r"^mine\.rate is -1\.0; it must be above 0$"):
        check(Outer(-1.0), "mine.")


def test_long_values_are_cut() -> None:
    assert shown(["x" * 99]) == f'["{"x" * 55}...'


def test_the_default_of_a_later_field_is_no_setting() -> None:
    @dataclass(frozen=True)
    class Keys:
        year: int = 0
        crowds: str = later("void")
        colours: tuple[str, ...] = later(())

    @dataclass(frozen=True)
    class Section:
        keys: Keys

    assert settings_of(Section(Keys())) == {"keys": {"year": 0}}
    full = {"year": 1, "crowds": "object", "colours": ("1,2,3",)}
    assert settings_of(Section(parse(Keys, full, "file"))) == {"keys": full}
    assert parse(Keys, {"year": 1}, "file") == Keys(1)
