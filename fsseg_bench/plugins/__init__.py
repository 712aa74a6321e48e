"""Finds plug-ins (methods, backbones, data sources) by name: built-in files, entry points, and a user's folder.

Finding names imports none of them; :func:`find` imports the one asked for.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular
from fsseg_bench.plugins import folders
from fsseg_bench.plugins.folders import class_at as class_at
from fsseg_bench.plugins.folders import place_of_class as place_of_class
from fsseg_bench.plugins.folders import portable_name as portable_name

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One sort of plug-in: a file, or an entry point, that defines one public subclass of ``base``."""

    name: str
    """In the singular, as messages say it: ``method``."""
    package: str
    """The package whose files are the built-in plug-ins."""
    base: Callable[[], type[T]]
    """Returns the class that each plug-in extends; a function, so that finding names does not import it."""

    @property
    def plural(self) -> str:
        """``methods``."""
        return f"{self.name}s"

    @property
    def group(self) -> str:
        """The entry-point group: ``fsseg_bench.methods``."""
        return f"fsseg_bench.{self.plural}"

    @property
    def option(self) -> str:
        """The option that names a user's folder: ``--methods-path``."""
        return f"--{self.plural}-path"

    @property
    def variable(self) -> str:
        """The environment variable that names a user's folder: ``FSSEG_METHODS_PATH``."""
        return f"FSSEG_{self.plural.upper()}_PATH"


@dataclass(frozen=True)
class Place:
    """Where one plug-in comes from."""

    module: str
    """Dotted name of the module that its name leads to; the class may be defined in another one."""
    attribute: str | None
    """The class's name in the module; None where a file defines exactly one."""
    origin: str
    """The file, or the entry point, that defines it, in words."""
    file: Path | None
    folder: Path | None = None
    """The user's folder that the file lies in."""


def places(kind: Kind[T], path: Path | str | None = None) -> dict[str, Place]:
    """All plug-ins of a kind by name, without importing any of them.

    Those of the user's folder ``path`` are among them (None: the one that the kind's environment variable names).

    Raises:
        UserError: no such folder, or two plug-ins of one name.
    """
    found: dict[str, Place] = {}
    builtin = package_folders(kind.package)
    for directory in builtin:
        _add_files(kind, found, directory, kind.package, None)
    if (folder := _user_folder(kind, path)) and folder not in map(Path.resolve, builtin):
        _add_files(kind, found, folder, folders.package_name(kind.plural, folder), folder)
    for point in entry_points(group=kind.group):
        _add(kind, found, point.name, _entry_place(point))
    return dict(sorted(found.items()))


def place_of(kind: Kind[T], name: str, path: Path | str | None = None) -> Place:
    """Where the plug-in ``name`` comes from.

    Raises:
        UserError: unknown name (near matches shown), or as :func:`places`.
    """
    found = places(kind, path)
    if name not in found:
        error = unknown(kind.name, name, found)
        raise error if _user_folder(kind, path) else UserError(f"{error} A file of your own: {kind.option} FOLDER.")
    return found[name]


def find(kind: Kind[T], name: str, path: Path | str | None = None) -> type[T]:
    """The class of the plug-in ``name``.

    Raises:
        UserError: as :func:`place_of`; or its module cannot be imported or does not define exactly one such class.
    """
    place = place_of(kind, name, path)
    if place.folder is not None and place.file is not None:
        folders.check_file(place.file, place.folder, kind.plural, kind.package)
    try:
        if place.folder is not None:
            folders.make_package(kind.plural, place.folder)
        module = importlib.import_module(place.module)
    except Exception as error:  # a user's file may raise anything when it is imported
        advice = folders.advice(error, place.folder) if place.folder else ""
        what = f"{kind.name} {name!r} ({place.origin})"
        raise UserError(f"{what} cannot be imported: {_words(error)}{advice}") from error
    return _class(kind, name, place, module)


def lazily(module: str) -> ModuleType:
    """A module of this package that is imported when it is needed, and is no part of whoever asks for it."""
    return importlib.import_module(module)


def companion(kind: Kind[T], name: str, folder: str, path: Path | str | None = None) -> ModuleType | None:
    """The module of the plug-in's name in the package ``folder`` beside its file, imported; None where there is none.

    Raises:
        UserError: as :func:`place_of`; or the module cannot be imported.
    """
    place = place_of(kind, name, path)
    if place.folder is not None:
        folders.make_package(kind.plural, place.folder)
    package, _, stem = place.module.rpartition(".")
    wanted = f"{package}.{folder}.{stem}" if package else f"{folder}.{stem}"
    try:
        if importlib.util.find_spec(wanted) is None:
            return None
    except ModuleNotFoundError:  # there is no such package beside it
        return None
    try:
        return importlib.import_module(wanted)
    except Exception as error:  # a user's file may raise anything when it is imported
        raise UserError(f"{wanted} cannot be imported: {_words(error)}") from error


def entry_points(group: str) -> EntryPoints:
    """The entry points of one group of all installed distributions."""
    return _installed(group, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=8)
def _installed(group: str, _search: tuple[tuple[str, int], ...]) -> EntryPoints:
    """Reads a file of each distribution, which takes milliseconds: anew only where the search path has changed."""
    return metadata.entry_points(group=group)


def _changed(folder: str) -> int:
    """When something was put into a folder or taken out of it, as installing does, in nanoseconds; 0 without one."""
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0


def package_folders(package: str) -> list[Path]:
    """Where a package's files lie, found without importing it: its ``__init__`` may need torch."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]


def docstring(place: Place) -> str:
    """The module docstring of a plug-in, read from its source; where that fails, why, in brackets."""
    if place.file is None:
        return ""
    try:
        return ast.get_docstring(ast.parse(regular(place.file).read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"(cannot be read: {error})"


def _class(kind: Kind[T], name: str, place: Place, module: object) -> type[T]:
    base = kind.base()
    if place.attribute is not None:
        found = getattr(module, place.attribute, None)
        if not (isinstance(found, type) and issubclass(found, base)):
            contract = f"{base.__module__}.{base.__name__}"
            raise UserError(f"{kind.name} {name!r} ({place.origin}): {place.attribute} is not a {contract}")
        return found
    defined = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == place.module
        if not key.startswith("_")
    ]
    if len(defined) != 1:
        listing = ", ".join(cls.__name__ for cls in defined) or "none"
        raise UserError(
            f"{place.origin}: a {kind.name} file defines exactly one public {base.__name__} subclass; found {listing}"
        )
    return defined[0]


def _user_folder(kind: Kind[T], path: Path | str | None) -> Path | None:
    given = path or os.environ.get(kind.variable)
    if not given:
        return None
    folder = Path(given).expanduser().resolve()
    if folder.is_file():
        name = folder.stem.replace("_", "-")
        raise UserError(f"{kind.option} {given} is a file; give its folder; the {kind.name} in it is {name}")
    if not folder.is_dir():
        raise UserError(f"{kind.option} {given}: no such folder")
    return folder


def _add_files(kind: Kind[T], found: dict[str, Place], directory: Path, package: str, folder: Path | None) -> None:
    for file in sorted(directory.glob("*.py")):
        if not file.stem.startswith(("_", ".")):
            place = Place(f"{package}.{file.stem}", None, str(file), file, folder)
            _add(kind, found, file.stem.replace("_", "-"), place)


def _add(kind: Kind[T], found: dict[str, Place], name: str, place: Place) -> None:
    if name in found:
        raise UserError(f"two {kind.plural} are called {name!r}: {found[name].origin} and {place.origin}; rename one")
    found[name] = place


def _entry_place(point: EntryPoint) -> Place:
    module, _, attribute = point.value.partition(":")
    origin = f"entry point {point.name} = {point.value}"
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    file = Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
    return Place(module, attribute or None, origin, file)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, (ImportError, SyntaxError)) else f"{type(error).__name__}: {error}"
