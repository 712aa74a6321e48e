"""A method's switches: the fields of its ``Switches``, their values from users, and their description."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Method
from fsseg_bench.schema import MAPPINGS, UNIONS, Must, Range
from fsseg_bench.values import checked_value, text_of, type_text

_ARGUMENTS = {
    False: "backbone: Backbone, switches: Switches",
    True: "backbone: Backbone, base_classes: int, switches: Switches",
}
_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


class Described(NamedTuple):
    """A switch as a table shows it."""

    name: str
    default: str
    """As ``--set`` takes it."""
    allowed: str
    """Its type, or its values, and its range."""
    meaning: str
    """The docstring under the field, in one line; empty where there is none."""


def switch_types(cls: type[Method]) -> dict[str, Any]:
    """The annotated types of a method's switches by name, ranges included.

    Raises:
        UserError: ``Switches`` is no frozen dataclass, a field has no type or one that names nothing, or ``__init__``
            takes switches as keyword-only arguments; says what to write.
    """
    _check_init(cls)
    if cls.Switches is None:
        return {}
    parameters = getattr(cls.Switches, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise UserError(f"{cls.__name__}.Switches: write @dataclass(frozen=True) above it")
    try:
        hints = get_type_hints(cls.Switches, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise UserError(f"{cls.__name__}.Switches: an annotation cannot be read: {error}") from error
    for name, value in vars(cls.Switches).items():
        if name not in hints and not name.startswith("_") and not callable(value):
            raise UserError(f"switch {name} has no type; write it as {name}: float = 1.0 in {cls.__name__}.Switches")
    return {field.name: hints[field.name] for field in dataclasses.fields(cls.Switches)}


def default_switches(cls: type[Method]) -> dict[str, Any]:
    """The switches of a method by name, each with its default.

    Raises:
        UserError: a switch has none; or as :func:`switch_types`.
    """
    kinds = switch_types(cls)
    if cls.Switches is None:
        return {}
    missing = dataclasses.MISSING
    for field in dataclasses.fields(cls.Switches):
        if field.default is missing and field.default_factory is missing:
            raise UserError(f"switch {field.name} has no default; a method must work without any --set")
    defaults = cls.Switches()
    return {name: getattr(defaults, name) for name in kinds}


def parse_switches(name: str, cls: type[Method], given: Mapping[str, Any]) -> dict[str, Any]:
    """All switches of a method with the values of ``given`` (text, or Python's) in place of defaults.

    Raises:
        UserError: unknown switch (near matches shown), a value of the wrong type or outside its range; or as
            :func:`default_switches`.
    """
    kinds, values = switch_types(cls), default_switches(cls)
    for key, value in given.items():
        if key not in kinds:
            raise unknown(f"switch of {name}", key, kinds)
        values[key] = checked_value(key, value, kinds[key])
    return values


def described(cls: type[Method]) -> list[Described]:
    """The switches of a method as a table shows them.

    Raises:
        UserError: as :func:`default_switches`.
    """
    kinds, meanings = switch_types(cls), dict[str, str]()
    for base in reversed(cls.Switches.__mro__ if cls.Switches else ()):
        meanings |= field_docs(base)
    return [
        Described(name, text_of(value), allowed(kinds[name]), meanings.get(name, ""))
        for name, value in default_switches(cls).items()
    ]


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a class, as its source has it."""
    if cls is object:
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # made while a program runs: it has no source
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(after.value.value.split())
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    }


def allowed(kind: Any) -> str:
    """What a value of an annotated type may be, in words: ``whole number, at least 1``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [note.words for note in arguments[1:] if isinstance(note, (Range, Must))]
        return ", ".join([allowed(arguments[0]), *bounds])
    if origin is Literal:
        return ", ".join(f"`{text_of(value)}`" for value in arguments)
    if origin is tuple:
        return f"list: {allowed(arguments[0])}"
    if origin in MAPPINGS:
        return f"mapping of names: {allowed(arguments[1])}"
    if origin in UNIONS:
        return ", or ".join("`none`" if argument is type(None) else allowed(argument) for argument in arguments)
    return _WORDS.get(kind) or type_text(kind)


def _check_init(cls: type[Method]) -> None:
    """Says how to write an ``__init__`` that takes no switches, or takes them as keyword-only arguments."""
    parameters = inspect.signature(cls.__init__).parameters
    old = [p for p in parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    arguments = f"(self, {_ARGUMENTS[cls.reads_class_labels]})"
    if not old:
        taken = any(p.name == "switches" or p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
        if cls.Switches is not None and not taken:
            raise UserError(f"{cls.__name__} has Switches, and its __init__ must take them: write {arguments}")
        return
    lines = [
        f"class {cls.__name__}(Method):",
        "    @dataclass(frozen=True)",
        "    class Switches:",
        *(f"        {_field(parameter)}" for parameter in old),
        "",
        f"    def __init__{arguments} -> None:",
        "        super().__init__(backbone, switches)",
    ]
    raise UserError(
        f"{cls.__name__}.__init__ takes {', '.join(p.name for p in old)} as keyword-only arguments. Switches are the "
        "fields of a frozen dataclass inside the class; write (with `from dataclasses import dataclass`)\n\n"
        + "\n".join(lines)
        + f"\n\nand read self.switches.{old[0].name}."
    )


def _field(parameter: inspect.Parameter) -> str:
    known = parameter.annotation is not inspect.Parameter.empty
    kind = inspect.formatannotation(parameter.annotation).strip("'\"") if known else "float"
    default = "1.0" if parameter.default is inspect.Parameter.empty else repr(parameter.default)
    return f"{parameter.name}: {kind} = {default}"
