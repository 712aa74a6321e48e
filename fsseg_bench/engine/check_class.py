"""Contract tests of a method's class and its card: what can be said without building one."""

from __future__ import annotations

import difflib

from fsseg_bench.engine.outputs import ContractError
from fsseg_bench.engine.switches import default_switches, switch_types
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.registry import FIDELITIES, Card
from fsseg_bench.values import checked_value, settable, type_text

_NEAR = 0.85  # of difflib: one or two letters of a name


def check_members(cls: type[Method]) -> str:
    """Whether everything is there that every method defines."""
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise ContractError(f"{cls.__name__} does not define {', '.join(missing)}")
    return "predict, loss and recipe"


def check_names(cls: type[Method]) -> str:
    """Whether a public name of the class is nearly one of the contract's: the engine would never look at it.

    Where the class has the contract's own name, too, the other one is its business.
    """
    contract = {name for name in vars(Method) if not name.startswith("_")}
    own = {name for base in cls.__mro__ if _of_a_method(base) for name in vars(base) if not name.startswith("_")}
    for name in sorted(own - contract):
        near = difflib.get_close_matches(name, sorted(contract - own), n=1, cutoff=_NEAR)
        if near:
            raise ContractError(
                f"{cls.__name__}.{name} is no part of the contract, and nothing calls or reads it. Did you mean "
                f"{near[0]!r}? (a name of your own: begin it with _, or choose another)"
            )
    return f"{len(own & contract)} of the contract's {len(contract)} names, none nearly so"


def _of_a_method(base: type) -> bool:
    return issubclass(base, Method) and base is not Method


def check_switches(cls: type[Method]) -> str:
    """Whether each switch has a type that can be set from outside and a default that it allows."""
    try:
        kinds, defaults = switch_types(cls), default_switches(cls)
        for key, kind in kinds.items():
            if not settable(kind):
                raise ContractError(
                    f"switch {key} has the type {type_text(kind)}, which --set cannot give; use bool, int, float, "
                    "str, Literal, tuple[X, ...], Mapping[str, X] or one of them | None"
                )
            fitting = checked_value(key, defaults[key], kind)
            if isinstance(defaults[key], str) and not isinstance(fitting, str):
                raise ContractError(f"the default of switch {key} is text, not {type_text(kind)}")
    except UserError as error:
        raise ContractError(str(error)) from None
    return ", ".join(kinds) or "none"


def check_card(card: Card) -> str:
    """Whether the module docstring says what the method is and how near to its original."""
    wanted = "the module docstring needs a first line and the lines Title:, Fidelity: (see docs/extending/method.md)"
    if not card.summary:
        raise ContractError(f"there is no card: {wanted}")
    if missing := [key for key in ("title", "fidelity") if not getattr(card, key)]:
        raise ContractError(f"the card has no {' and no '.join(f'{key.capitalize()}:' for key in missing)}; {wanted}")
    if card.fidelity not in FIDELITIES:
        near = difflib.get_close_matches(card.fidelity.lower(), FIDELITIES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ContractError(f"Fidelity: {card.fidelity} is unknown.{hint} Known: {', '.join(FIDELITIES)}")
    return card.fidelity
