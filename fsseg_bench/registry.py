"""Finds methods by name: files of ``fsseg_methods``, the entry-point group, and a folder of one's own.

Reading cards needs no torch and runs no method code; :func:`find_method` imports the one method asked for.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import fsseg_methods
from fsseg_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from fsseg_bench.method import Method

ENTRY_POINT_GROUP = "fsseg_bench.methods"
FIDELITIES = ("parity", "from code", "paper only", "reconstruction", "own design")
"""What a card may say of how near a method is to its original; docs/methods.md explains them."""
_CARD_KEYS = ("title", "authors", "venue", "year", "fidelity", "distinctive")


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
    origin: str
    """The file, or the entry point, that defines it."""


@dataclass(frozen=True)
class _Place:
    """Where one method comes from."""

    module: str
    attribute: str | None
    origin: str
    file: Path | None


def method_names(methods_path: Path | str | None = None) -> list[str]:
    """Names of all methods, sorted."""
    return sorted(_places(methods_path))


def cards(methods_path: Path | str | None = None) -> list[Card]:
    """The cards of all methods, sorted by name, read from source without importing any method."""
    return [_card(name, place) for name, place in sorted(_places(methods_path).items())]


def find_method(name: str, methods_path: Path | str | None = None) -> type[Method]:
    """The class of the method ``name``.

    Raises:
        UserError: unknown name (near matches shown), two definitions of one name, a module that cannot be imported
            or does not define exactly one method.
    """
    places = _places(methods_path)
    if name not in places:
        raise unknown("method", name, places)
    place = places[name]
    try:
        module = importlib.import_module(place.module)
    except (ImportError, SyntaxError) as error:
        raise UserError(f"method {name!r} ({place.origin}) cannot be imported: {error}") from error
    return _method_class(name, place, module)


def method_file(cls: type[Method]) -> Path:
    """The source file that defines a method; its digest enters the identity of a run."""
    return Path(inspect.getfile(cls))


def _method_class(name: str, place: _Place, module: object) -> type[Method]:
    from fsseg_bench.method import Method

    if place.attribute is not None:
        found = getattr(module, place.attribute, None)
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise UserError(f"method {name!r} ({place.origin}): {place.attribute} is not a fsseg_bench.method.Method")
        return found
    own = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == place.module
        if not key.startswith("_")
    ]
    if len(own) != 1:
        listing = ", ".join(cls.__name__ for cls in own) or "none"
        raise UserError(f"{place.origin}: a method file defines exactly one public Method subclass; found {listing}")
    return own[0]


def _places(methods_path: Path | str | None) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for directory in _directories(methods_path):
        for file in sorted(directory.glob("*.py")):
            if not file.stem.startswith("_"):
                module = f"{fsseg_methods.__name__}.{file.stem}"
                _add(places, file.stem.replace("_", "-"), _Place(module, None, str(file), file))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        _add(places, point.name, _entry_place(point))
    return places


def _directories(methods_path: Path | str | None) -> list[Path]:
    """The folders of method files; a folder of the user's own joins ``fsseg_methods`` so that its classes pickle."""
    own = methods_path or os.environ.get("FSSEG_METHODS_PATH")
    if own:
        directory = Path(own).expanduser().resolve()
        if not directory.is_dir():
            raise UserError(f"--methods-path {own}: no such folder")
        if str(directory) not in fsseg_methods.__path__:
            fsseg_methods.__path__.append(str(directory))
            importlib.invalidate_caches()
    return [Path(p) for p in fsseg_methods.__path__]


def _add(places: dict[str, _Place], name: str, place: _Place) -> None:
    if name in places:
        raise UserError(f"two methods are called {name!r}: {places[name].origin} and {place.origin}; rename one")
    places[name] = place


def _entry_place(point: EntryPoint) -> _Place:
    module, _, attribute = point.value.partition(":")
    origin = f"entry point {point.name} = {point.value}"
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    file = Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
    return _Place(module, attribute or None, origin, file)


def _card(name: str, place: _Place) -> Card:
    doc = ""
    if place.file is not None:
        try:
            doc = ast.get_docstring(ast.parse(place.file.read_text(encoding="utf-8"))) or ""
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            doc = f"(cannot be read: {error})"
    values: dict[str, str] = {}
    differences = []
    for line in doc.splitlines()[1:]:
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key in _CARD_KEYS:
            values[key] = value.strip()
        elif key == "differences" and value.strip():
            differences.append(value.strip())
    return Card(
        name=name,
        summary=doc.partition("\n")[0],
        differences=tuple(differences),
        origin=place.origin,
        **{key: values.get(key, "") for key in _CARD_KEYS},
    )


def forget_methods_path(directory: Path | str) -> None:
    """Undo what ``methods_path`` did in this process (for tests and long-lived sessions)."""
    resolved = str(Path(directory).resolve())
    if resolved in fsseg_methods.__path__:
        fsseg_methods.__path__.remove(resolved)
        for file in Path(resolved).glob("*.py"):
            sys.modules.pop(f"{fsseg_methods.__name__}.{file.stem}", None)
