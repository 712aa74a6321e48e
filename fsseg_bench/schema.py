"""Tables and settings against annotated types: what a dataclass says of its fields is what is checked.

An annotation may say more than a type: ``Annotated[int, Range(least=1)]``, ``Annotated[str, Must("lower case",
str.islower)]``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from fsseg_bench.errors import UserError, unknown

T = TypeVar("T")
Read = Callable[[Any, Any], Any]
"""What a value may be before it is checked against a type: text from a shell becomes a number where it can."""

UNIONS = {Union, types.UnionType}
MAPPINGS = {Mapping, dict}
TABLE = "a table"
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "nothing"}
_LARGEST = 2**63
_LONGEST = 60
_LATER = "later"


class Range(NamedTuple):
    """The numbers that an annotation allows."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def fits(self, value: Any) -> bool:
        """Whether a number is inside; NaN never is where there is any bound."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def words(self) -> str:
        """What "it must be" goes on with."""
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)


class Must(NamedTuple):
    """Any other condition of an annotation."""

    words: str
    """What "it must be" goes on with."""
    fits: Callable[[Any], object]


class WrongError(Exception):
    """What is wrong with a table, without its file."""


class MisfitError(WrongError):
    """A value that does not have its type."""

    def __init__(
        self, key: str, value: Any, words: str, *, allowed: tuple[Any, ...] = (), condition: Range | Must | None = None
    ) -> None:
        """``words`` says what it must be, ``allowed`` all that it can be, ``condition`` what else it did not meet."""
        told = f"allowed: {', '.join(map(shown, allowed))}" if allowed else f"it must be {words}"
        super().__init__(f"{key} is {shown(value)}; {told}")
        self.value, self.words, self.allowed, self.condition = value, words, allowed, condition


def parse(
    cls: type[T],
    table: Any,
    where: object,
    prefix: str = "",
    *,
    error: type[UserError] = UserError,
    others: Collection[type] = (),
) -> T:
    """An instance of a dataclass from a table of JSON or TOML; a field with a default may be left out.

    Values are taken as they are: text is no number, ``true`` is none either. Whole numbers serve as numbers, and lists
    become tuples. A ValueError of ``__post_init__`` is a mistake in the table.

    Args:
        cls: a dataclass whose fields are scalars, Literals, tuples, Mappings from text, dataclasses, unions of these,
            any of them Annotated with :class:`Range` or :class:`Must`, or Any.
        table: what was read.
        where: the file, for messages.
        prefix: the table's name in the file.
        error: what is raised.
        others: the dataclasses, nested ones too, whose unknown keys are passed over.

    Raises:
        UserError: a key is missing or unknown, or a value does not fit; names the file, the key and what is allowed.
    """
    try:
        return _table(cls, table, prefix, others)
    except WrongError as wrong:
        raise error(f"{where}: {wrong}") from None


def check(instance: Any, prefix: str = "") -> None:
    """Whether the fields of a dataclass made in code fit their annotations.

    Raises:
        UserError: one does not; names it.
    """
    try:
        for name, kind, _ in fields_of(type(instance)):  # type: ignore[arg-type]
            fitted(getattr(instance, name), kind, f"{prefix}{name}")
    except WrongError as wrong:
        raise UserError(str(wrong)) from None


def later(default: T) -> T:
    """A field that came after values were recorded: :func:`settings_of` leaves it out where it has its default."""
    made: T = dataclasses.field(default=default, metadata={_LATER: True})
    return made


def settings_of(instance: Any) -> dict[str, Any]:
    """As ``dataclasses.asdict``, without the fields of :func:`later` that have their default."""
    values = dataclasses.asdict(instance)
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if _LATER in field.metadata and value == field.default:
            del values[field.name]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[field.name] = settings_of(value)
    return values


@cache
def fields_of(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Of each field of a dataclass its name, its annotated type, and whether it must be given."""
    hints, missing = get_type_hints(cls, include_extras=True), dataclasses.MISSING
    made = [field for field in dataclasses.fields(cls) if field.init]
    return tuple((f.name, hints[f.name], f.default is missing and f.default_factory is missing) for f in made)


def _table(cls: type[T], table: Any, name: str, others: Collection[type]) -> T:
    if not isinstance(table, Mapping):
        raise MisfitError(name or "the content", table, TABLE)
    kinds, dot = fields_of(cls), f"{name}." if name else ""  # type: ignore[arg-type]
    known = {key for key, _, _ in kinds}
    for key in table:
        if key not in known and cls not in others:
            raise WrongError(str(unknown("key", str(key), known, prefix=dot)))
    if missing := sorted(f"{dot}{key}" for key, _, needed in kinds if needed and key not in table):
        raise WrongError(f"missing {', '.join(missing)}")
    values = {key: fitted(table[key], kind, f"{dot}{key}", others=others) for key, kind, _ in kinds if key in table}
    try:
        return cls(**values)
    except ValueError as error:
        raise WrongError(f"{dot}{error}") from None


def fitted(value: Any, kind: Any, key: str, read: Read | None = None, others: Collection[type] = ()) -> Any:
    """``value`` as an annotated type has it.

    Args:
        value: plain data.
        kind: see :func:`parse`.
        key: what messages call it.
        read: is applied to the value, and to its parts, before the check.
        others: see :func:`parse`.

    Raises:
        WrongError: it does not fit.
    """
    given, origin, arguments = value, get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = fitted(value, arguments[0], key, read, others)
        for condition in arguments[1:]:
            if isinstance(condition, (Range, Must)) and not condition.fits(value):
                raise MisfitError(key, value, condition.words, condition=condition)
        return value
    if origin in UNIONS:
        return _union(value, arguments, key, read, others)
    if read is not None:
        value = read(value, kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _table(kind, value, key, others)  # type: ignore[arg-type]
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise MisfitError(key, given, f"one of: {', '.join(map(str, arguments))}", allowed=arguments)
        return value
    if origin is tuple:
        return _tuple(value, arguments, key, read, others)
    if origin in MAPPINGS:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise MisfitError(key, given, TABLE)
        return {name: fitted(v, arguments[1], f"{key}.{name}", read, others) for name, v in value.items()}
    return _scalar(value, kind, key, given)


def _union(value: Any, kinds: tuple[Any, ...], key: str, read: Read | None, others: Collection[type]) -> Any:
    """The value in the first of several types that takes it. Of what fits none, all types but None are told; that of a
    condition or of a part is told alone, since the value was meant to be of its type."""
    errors: list[WrongError] = []
    for kind in sorted(kinds, key=lambda kind: kind is not types.NoneType):
        try:
            return fitted(value, kind, key, read, others)
        except WrongError as error:
            errors.append(error)
    errors = errors[types.NoneType in kinds :]
    plain = [e for e in errors if isinstance(e, MisfitError) and e.condition is None and e.value == value]
    if len(plain) < len(errors) or len(errors) == 1:
        raise next((one for one in errors if one not in plain), errors[0])
    raise MisfitError(key, value, " or ".join(one.words for one in plain))


def _tuple(value: Any, kinds: tuple[Any, ...], key: str, read: Read | None, others: Collection[type]) -> Any:
    if not isinstance(value, (list, tuple)):
        raise MisfitError(key, value, "a list")
    if Ellipsis in kinds:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise MisfitError(key, value, f"a list of {len(kinds)} values")
    return tuple(
        fitted(v, kind, f"{key}[{i}]", read, others) for i, (v, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _scalar(value: Any, kind: Any, key: str, given: Any) -> Any:
    if kind is float and type(value) is int:
        value = float(value) if -_LARGEST < value < _LARGEST else math.inf
    if type(value) is not kind:
        raise MisfitError(key, given, _WORDS.get(kind, f"a {kind}"))
    if kind is int and not -_LARGEST < value < _LARGEST:
        raise MisfitError(key, given, "a number of at most 63 bits")
    if kind is float and not math.isfinite(value):
        raise MisfitError(key, given, "a finite number")
    if kind is str and "\0" in value:
        raise MisfitError(key, given, "text without a NUL character")
    return value


def shown(value: Any) -> str:
    """A value as TOML writes it, for messages; a long one is cut."""
    text = _text(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return TABLE
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        return f"a number of {value.bit_length()} bits"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
