"""The methods by name, and their cards. Reading cards needs no torch and runs no method code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsseg_methods
from fsseg_bench import plugins
from fsseg_bench.errors import UserError
from fsseg_bench.nn.catalogue import BACKBONES, TIMM
from fsseg_bench.nn.families import timm_seen
from fsseg_bench.seen import (
    OF_METHOD,
    OF_WEIGHTS,
    RANDOM_WEIGHTS,
    UNKNOWN,
    Seen,
    card_lines,
    under_protocol,
    with_switches,
)

if TYPE_CHECKING:
    from fsseg_bench.method import Method
    from fsseg_bench.nn.released import Released

FIDELITIES = ("parity", "from code", "paper only", "reconstruction", "own design")
"""What a card may say of how near a method is to its original; docs/reference/methods.md explains them."""
_CARD_KEYS = ("title", "authors", "venue", "year", "fidelity", "distinctive")
_WORKS = "works"
_FILES = (".pth", ".pt", ".safetensors")


def _method() -> type[Method]:
    from fsseg_bench.method import Method

    return Method


METHODS = plugins.Kind("method", fsseg_methods.__name__, _method)
"""Where methods are found."""


@dataclass(frozen=True)
class Card:
    """What a method's module docstring says of it."""

    name: str
    """The name for ``--method``."""
    summary: str
    """First line of the docstring."""
    title: str
    """Title of the paper."""
    authors: str
    venue: str
    year: str
    fidelity: str
    """One of :data:`FIDELITIES`; empty when not stated."""
    distinctive: str
    """What sets the method apart."""
    differences: tuple[str, ...]
    """Known differences from the original."""
    untrained: bool
    """Whether it predicts with pretrained weights alone: no parameter beside the backbone's has a part in it
    (``Untrained: works``)."""
    transductive: str
    """Which unlabelled pixels a prediction is fitted to, as :class:`fsseg_bench.seen.Seen`; unknown when not stated."""
    test_time_training: str
    """What gradient steps change at test; ``{steps}`` stands for the value of a switch."""
    extra_data: str
    """What the method sees beside base classes and episode."""
    origin: str
    """The file, or the entry point, that defines it."""


def method_names(methods_path: Path | str | None = None) -> list[str]:
    """Names of all methods, sorted."""
    return list(plugins.places(METHODS, methods_path))


def cards(methods_path: Path | str | None = None) -> list[Card]:
    """The cards of all methods, sorted by name, read from source without importing any method."""
    return [_card(name, place) for name, place in plugins.places(METHODS, methods_path).items()]


def training_free(methods_path: Path | str | None = None) -> list[str]:
    """Names of the methods that work untrained, as their cards say, sorted."""
    return [card.name for card in cards(methods_path) if card.untrained]


def card_of(name: str, methods_path: Path | str | None = None) -> Card:
    """The card of the method ``name``.

    Raises:
        UserError: unknown name (near matches shown), or two definitions of one name.
    """
    return _card(name, plugins.place_of(METHODS, name, methods_path))


def find_method(name: str, methods_path: Path | str | None = None) -> type[Method]:
    """The class of the method ``name``.

    Raises:
        UserError: unknown name (near matches shown), two definitions of one name, a module that cannot be imported
            or does not define exactly one method.
    """
    return plugins.find(METHODS, name, methods_path)


def method_module(name: str, methods_path: Path | str | None = None) -> str:
    """Dotted name of the module that ``name`` leads to; the class may be defined in another one.

    Raises:
        UserError: unknown name, or two definitions of one name.
    """
    return plugins.place_of(METHODS, name, methods_path).module


def released_of(name: str, methods_path: Path | str | None = None) -> tuple[Released, ...]:
    """The kinds of the authors' files that can be read as the method ``name``; of most methods none.

    They are ``RELEASED`` in the module ``_released/NAME.py`` beside the method's file.

    Raises:
        UserError: unknown name, two definitions of one name, or the module cannot be imported.
    """
    module = plugins.companion(METHODS, name, "_released", methods_path)
    if module is None:
        return ()
    found: tuple[Released, ...] | None = getattr(module, "RELEASED", None)
    if found is None:
        raise UserError(f"{module.__file__}: defines no RELEASED, a tuple of Released")
    return found


def pretraining(backbone: str, path: Path | str | None = None, weights: str = "") -> dict[str, str]:
    """What the published weights of a backbone, cut or not, have seen, as the docstring of its module says.

    Of timm's models it is what the tag in the weights' name says. By field of :data:`fsseg_bench.seen.OF_WEIGHTS`,
    without those that are not stated. Nothing is imported.

    Raises:
        UserError: no such folder, or two backbones of one name.
    """
    if backbone.startswith(TIMM):
        return timm_seen.pretraining(weights)
    known = plugins.places(BACKBONES, path)
    while backbone and backbone not in known:
        backbone = backbone.rpartition("-")[0]
    return card_lines(plugins.docstring(known[backbone]), OF_WEIGHTS) if backbone else {}


def what_was_seen(
    method: str,
    backbone: str,
    weights: str | None,
    protocol: str,
    switches: Mapping[str, Any],
    *,
    stated: Mapping[str, str] | None = None,
    trained_elsewhere: bool = False,
    methods_path: Path | str | None = None,
    backbones_path: Path | str | None = None,
) -> Seen:
    """What a run's numbers are made of, as the cards of method and backbone say.

    Args:
        method: its name; of an unknown one nothing is known.
        backbone: its name, cut or not.
        weights: ``none``, the name of published weights, or of a file, of which nothing is known; None: not noted.
            Of an evaluated checkpoint those that its training began with.
        protocol: the name of it.
        switches: the method's.
        stated: what the user says of the weights, by field of :data:`fsseg_bench.seen.OF_WEIGHTS`.
        trained_elsewhere: whether a checkpoint of another protocol was evaluated, whose base classes may be held out
            here.
        methods_path: a folder with further methods.
        backbones_path: a folder with further backbones.

    Raises:
        UserError: the user says otherwise than is known.
    """
    found: dict[str, str] = {}
    with suppress(UserError):
        card = card_of(method, methods_path)
        found |= {name: getattr(card, name) for name in OF_METHOD}
    if weights == "none":
        found |= RANDOM_WEIGHTS
    elif weights and not weights.endswith(_FILES):
        with suppress(UserError):
            found |= pretraining(backbone, backbones_path, weights)
    if trained_elsewhere:
        found["novel_classes"] = UNKNOWN
    elif "novel_classes" in found:
        found["novel_classes"] = under_protocol(found["novel_classes"], protocol)
    for name, text in (stated or {}).items():
        if (known := found.get(name, UNKNOWN)) not in {UNKNOWN, text}:
            raise UserError(
                f"--set weights.{name}={text}: of weights {weights} it is known to be {known}; leave it out"
            )
        found[name] = text
    return with_switches(Seen(**found), switches)


def _card(name: str, place: plugins.Place) -> Card:
    doc = plugins.docstring(place)
    values: dict[str, str] = {}
    differences = []
    for line in doc.splitlines()[1:]:
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key in {*_CARD_KEYS, "untrained"}:
            values[key] = value.strip()
        elif key == "differences" and value.strip():
            differences.append(value.strip())
    return Card(
        name=name,
        summary=doc.partition("\n")[0],
        differences=tuple(differences),
        untrained=values.get("untrained", "").lower() == _WORKS,
        origin=place.origin,
        **{key: values.get(key, "") for key in _CARD_KEYS},
        **dict.fromkeys(OF_METHOD, UNKNOWN) | card_lines(doc, OF_METHOD),
    )
