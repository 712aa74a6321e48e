"""Makes a user's folder of plug-in files a package, so that its files import one another with a dot.

The package is named after the folder's path: its files never shadow, nor are shadowed by, the built-in ones or those of
another folder.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from fsseg_bench.errors import UserError

_TOP = re.compile(r"(fsseg_user_([a-z]+)_)[0-9a-f]{8}\Z")


def package_name(plural: str, folder: Path) -> str:
    """The name of the package that a folder of ``plural`` (``methods``) becomes; another folder gives another name."""
    return f"fsseg_user_{plural}_{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"


def portable_name(module: str) -> str:
    """A module's dotted name without what a user's folder's path puts into it; other names as they are."""
    top, dot, rest = module.partition(".")
    return _TOP.sub(r"\1", top) + dot + rest


def make_package(plural: str, folder: Path) -> None:
    """Makes a folder importable under :func:`package_name`; its ``__init__.py`` is run where it has one.

    Raises:
        ImportError: another folder has got the same name.
        Exception: whatever its ``__init__.py`` raises.
    """
    name = package_name(plural, folder)
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


def place_of_class(cls: type) -> tuple[str, str, str | None]:
    """What :func:`class_at` needs in another process: module, name, and the user's folder that is its package."""
    top = cls.__module__.partition(".")[0]
    return cls.__module__, cls.__name__, sys.modules[top].__path__[0] if _TOP.match(top) else None


def class_at(module: str, name: str, folder: str | None) -> type:
    """The class that :func:`place_of_class` tells of; the folder becomes a package where it is none yet.

    Raises:
        ImportError: the module cannot be imported.
    """
    if folder is not None and (top := _TOP.match(module.partition(".")[0])):
        make_package(top[2], Path(folder))
    found: type = getattr(importlib.import_module(module), name)
    return found


def check_file(file: Path, folder: Path, plural: str, builtin: str) -> None:
    """Whether the file can be imported, and means its neighbours by names that lead to them.

    Args:
        file: of a plug-in.
        folder: that it lies in.
        plural: of its kind: ``methods``.
        builtin: the package of the built-in plug-ins of its kind.

    Raises:
        UserError: a dot in its name; or an underscore file or a package of the folder is imported as if it were the
            built-in one of the same name, which Python would take in silence.
    """
    if "." in file.stem:
        raise UserError(f"{file}: a file of {plural} has no dot in its name but that of .py; rename it")
    for other in (file, *sorted(folder.glob("_*.py")), *sorted(folder.glob("*/**/*.py"))):
        try:
            tree = ast.parse(other.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # importing it says what is wrong
        for name in _imported_from(builtin, tree):
            if _beside(name, folder):
                raise UserError(
                    f"{other}: imports {builtin}.{name}, which is not the {name} beside it; write "
                    f"`from .{name} import ...` for the one in {folder}, or rename that one"
                )


def advice(error: Exception, folder: Path) -> str:
    """What to write instead, where a user's file looks for its neighbour as for a module of the whole system."""
    wanted = error.name or "" if isinstance(error, ImportError) else ""
    return f"; {wanted} lies beside it: write `from .{wanted} import ...`" if _beside(wanted, folder) else ""


def _imported_from(package: str, tree: ast.AST) -> Iterator[str]:
    """Names of the modules that a file imports from a package."""
    top = f"{package}."
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
