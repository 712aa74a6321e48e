"""Finds methods by name: files of ``fsseg_methods``, the entry-point group, and a folder of one's own.

Reading cards needs no torch and runs no method code; :func:`find_method` imports the one method asked for. A folder of
one's own is a package of its own (:func:`user_package`): its files import one another with a dot, and never
shadow, nor are shadowed by, those of ``fsseg_methods`` or of another folder.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import fsseg_methods
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular

if TYPE_CHECKING:
    from fsseg_bench.method import Method

ENTRY_POINT_GROUP = "fsseg_bench.methods"
BUILTIN_PACKAGE = fsseg_methods.__name__
"""The package of the methods that come with this one."""
USER_PACKAGE = "fsseg_user_methods_"
"""How the names of packages begin that are made of users' folders."""
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
    folder: Path | None = None
    """The user's folder that the file lies in."""


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
    place = _place(name, methods_path)
    if place.folder is not None and place.file is not None:
        _check_file(place.file, place.folder)
    try:
        if place.folder is not None:
            _import_folder(place.folder)
        module = importlib.import_module(place.module)
    except Exception as error:  # a user's file may raise anything when it is imported
        advice = _advice(error, place.folder)
        raise UserError(f"method {name!r} ({place.origin}) cannot be imported: {_words(error)}{advice}") from error
    return _method_class(name, place, module)


def method_module(name: str, methods_path: Path | str | None = None) -> str:
    """Dotted name of the module that ``name`` leads to; the class may be defined in another one.

    Raises:
        UserError: unknown name, or two definitions of one name.
    """
    return _place(name, methods_path).module


def user_package(folder: Path) -> str:
    """The name of the package that a folder of method files becomes; another folder gives another name."""
    return USER_PACKAGE + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]


def _place(name: str, methods_path: Path | str | None) -> _Place:
    places = _places(methods_path)
    if name not in places:
        raise unknown("method", name, places)
    return places[name]


def _import_folder(folder: Path) -> None:
    """Makes a folder of method files an importable package; its ``__init__.py`` is run where it has one."""
    name = user_package(folder)
    if name in sys.modules:
        if list(sys.modules[name].__path__) != [str(folder)]:
            raise ImportError(f"{folder} and {sys.modules[name].__path__} get the same package name; rename one")
        return
    start = folder / "__init__.py"
    loader = importlib.machinery.SourceFileLoader(name, str(start)) if start.is_file() else None
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(start) if loader else None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    spec.has_location = loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    importlib.invalidate_caches()
    if loader is not None:
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise


def _check_file(file: Path, folder: Path) -> None:
    """Whether the file can be imported, and means its neighbours by names that lead to them.

    Raises:
        UserError: a dot in its name; or an underscore file of the folder is imported as if it were the built-in
            one of the same name, which Python would take in silence.
    """
    if "." in file.stem:
        raise UserError(f"{file}: a file of methods has no dot in its name but that of .py; rename it")
    for other in (file, *sorted(folder.glob("_*.py"))):
        try:
            tree = ast.parse(other.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # importing it says what is wrong
        for name in _imported_builtins(tree):
            if _beside(name, folder):
                raise UserError(
                    f"{other}: imports {BUILTIN_PACKAGE}.{name}, which is not the {name} beside it; write "
                    f"`from .{name} import ...` for the one in {folder}, or rename that one"
                )


def _imported_builtins(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that a file imports from ``fsseg_methods``."""
    top = f"{BUILTIN_PACKAGE}."
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.removeprefix(top).partition(".")[0] for name in names if name.startswith(top))


def _beside(name: str, folder: Path) -> bool:
    """Whether a module or package of this name lies in ``folder``."""
    return name.isidentifier() and ((folder / f"{name}.py").is_file() or (folder / name).is_dir())


def _advice(error: Exception, folder: Path | None) -> str:
    """What to write instead, where a user's file looks for its neighbour as for a module of the whole system."""
    wanted = error.name or "" if isinstance(error, ImportError) else ""
    if folder is None or not _beside(wanted, folder):
        return ""
    return f"; {wanted} lies beside it: write `from .{wanted} import ...`"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, (ImportError, SyntaxError)) else f"{type(error).__name__}: {error}"


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
    for directory in map(Path, fsseg_methods.__path__):
        _add_files(places, directory, BUILTIN_PACKAGE, None)
    if folder := _user_folder(methods_path):
        _add_files(places, folder, user_package(folder), folder)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        _add(places, point.name, _entry_place(point))
    return places


def _add_files(places: dict[str, _Place], directory: Path, package: str, folder: Path | None) -> None:
    for file in sorted(directory.glob("*.py")):
        if not file.stem.startswith(("_", ".")):
            _add(places, file.stem.replace("_", "-"), _Place(f"{package}.{file.stem}", None, str(file), file, folder))


def _user_folder(methods_path: Path | str | None) -> Path | None:
    """The folder of the user's own method files: ``methods_path``, else ``FSSEG_METHODS_PATH``; None without."""
    given = methods_path or os.environ.get("FSSEG_METHODS_PATH")
    if not given:
        return None
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"--methods-path {given}: no such folder")
    builtin = [Path(place).resolve() for place in fsseg_methods.__path__]
    return None if folder in builtin else folder


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
            doc = ast.get_docstring(ast.parse(regular(place.file).read_text(encoding="utf-8"))) or ""
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
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
