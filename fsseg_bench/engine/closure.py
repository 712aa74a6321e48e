"""Which files a module's code lies in: the closure of its imports, found in syntax trees without importing anything."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.errors import UserError

_INSTALLED = {"site-packages", "dist-packages"}
_BY_NAME = {"importlib", "lazy_loader", "pkgutil", "runpy"}
_CHECKERS = "TYPE_CHECKING"
_RUNS_TEXT = {"__import__", "exec", "eval"}


class Module(NamedTuple):
    """Where a module's code is, and where its submodules are."""

    file: Path | None
    """None: a folder of modules without ``__init__.py``."""
    search: tuple[str, ...] = ()
    """Of a package: its folders."""


class Source(NamedTuple):
    """What a file says, as far as numbers can depend on it."""

    digest: str
    """SHA-256 (hex) of its syntax tree: blind to comments, docstrings, layout and ``if TYPE_CHECKING:``."""
    imports: tuple[tuple[int, str], ...]
    """Level (0: absolute; 1: the file's package; ...) and dotted name of all that may be imported, functions too."""
    by_name: bool
    """Whether it can import what no syntax tree shows: by a name made while it runs, or by a star."""


def closure(
    starts: Iterable[str], tops: Mapping[str, Module], *, without: Collection[str] = (), by_name: Collection[str] = ()
) -> dict[str, Module]:
    """Every module that importing ``starts`` may import, and the packages that hold them.

    Followed are the packages in ``tops`` and any other code that is neither Python's own nor installed (a folder on
    ``PYTHONPATH``, an editable installation). A file that imports by name (``importlib``) counts with everything in its
    top-level package.

    Args:
        starts: dotted names.
        tops: top-level name to place.
        without: modules that neither count nor lead further.
        by_name: modules that import by name, of which it is known that they need not count so.

    Raises:
        UserError: a file cannot be read or parsed.
    """
    finder = _Finder(tops)
    found: dict[str, Module] = {}
    waiting = [name for start in starts for name in _with_parents(start)]
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        module = finder.find(name)
        if module is None:
            continue
        found[name] = module
        if module.file is None or module.file.suffix != ".py":
            continue
        source = read_source(module.file)
        package = name if module.search else name.rpartition(".")[0]
        for level, wanted in source.imports:
            absolute = _absolute(package, level, wanted)
            waiting += _with_parents(absolute)
            waiting += finder.lazy(absolute)
        if source.by_name and name not in by_name:
            waiting += finder.everything(name.partition(".")[0])
    return found


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _absolute(package: str, level: int, name: str) -> str:
    if level == 0:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - level + 1], name])


class _Finder:
    """Finds modules by name as Python does, in given places."""

    def __init__(self, tops: Mapping[str, Module]) -> None:
        self._known: dict[str, Module | None] = dict(tops)
        invalidate_caches()  # folders may have changed since Python looked into them

    def find(self, name: str) -> Module | None:
        """The module; None where it is Python's own, installed, or no module at all (a name in one)."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Module | None:
        parent, _, _ = name.rpartition(".")
        if not parent:
            return _uninstalled(name)
        above = self.find(parent)
        if above is None or not above.search:
            return None
        return _inside(above.search, name.rpartition(".")[2])

    def lazy(self, name: str) -> list[str]:
        """The modules, with their packages, of a name that ``__getattr__`` provides: where a type checker finds it."""
        parent, _, last = name.rpartition(".")
        above = self.find(parent) if parent else None
        if above is None or above.file is None or not above.search or self.find(name) is not None:
            return []
        return [name for found, own in _declared(above.file, parent) if own == last for name in _with_parents(found)]

    def everything(self, top: str) -> Iterator[str]:
        """All modules of a package, by the files that lie in it."""
        module = self.find(top)
        for folder in module.search if module is not None else ():
            for path in sorted(Path(folder).rglob("*.py")):
                parts = path.relative_to(folder).with_suffix("").parts
                yield from _with_parents(".".join([top, *(parts[:-1] if parts[-1] == "__init__" else parts)]))


def _uninstalled(name: str) -> Module | None:
    """A top-level module that is neither Python's own nor installed."""
    if name in sys.stdlib_module_names or name == "__main__":
        return None
    try:
        found = _module(find_spec(name))
    except (ImportError, ValueError):
        return None
    places = [*found.search, str(found.file or "")] if found else []
    return None if any(_INSTALLED & set(Path(place).parts) for place in places) else found


def _inside(folders: Iterable[str], name: str) -> Module | None:
    """A module or package in one of ``folders``."""
    return _module(PathFinder.find_spec(name, list(folders)))


def _module(spec: ModuleSpec | None) -> Module | None:
    """Several folders without ``__init__`` are one module without a file; what is built in has no place at all."""
    if spec is None:
        return None
    search = tuple(spec.submodule_search_locations or ())
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    return Module(file, search) if file or search else None


def read_source(file: Path) -> Source:
    """What a Python file says.

    Raises:
        UserError: it cannot be read or is not Python; names it.
    """
    with _naming(file):
        return _parsed(file.read_bytes())


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Names the file that cannot be read or is not Python."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: is not Python: {error}") from None


@lru_cache(maxsize=4096)
def _parsed(text: bytes) -> Source:
    tree = ast.parse(text)
    if not any(isinstance(n, ast.Name) and n.id == _CHECKERS and isinstance(n.ctx, ast.Store) for n in ast.walk(tree)):
        tree = _Live().visit(tree)
    text_of_tree: list[str] = []
    _write(tree, text_of_tree)
    digest = hashlib.sha256("".join(text_of_tree).encode()).hexdigest()
    return Source(digest, tuple(_imports(tree)), _imports_by_name(tree))


def _declared(file: Path, package: str) -> list[tuple[str, str]]:
    """Module and name of each ``from MODULE import NAME`` in a package's stub and under its ``if TYPE_CHECKING:``."""
    found = _froms(file.read_bytes(), checkers=True)
    if (stub := file.with_suffix(".pyi")).is_file():
        with _naming(stub):
            found += _froms(stub.read_bytes(), checkers=False)
    return [(_absolute(package, level, module), name) for level, module, name in found]


@lru_cache(maxsize=4096)
def _froms(text: bytes, *, checkers: bool) -> tuple[tuple[int, str, str], ...]:
    """Level, module and name of each ``from MODULE import NAME``; of those for type checkers alone, or of all."""
    blocks = [node for node in ast.parse(text).body if not checkers or _for_checkers(node)]
    nodes = [node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom) and node.module]
    return tuple((node.level, str(node.module), a.asname or a.name) for node in nodes for a in node.names)


class _Live(ast.NodeTransformer):
    """Takes out what is never run: docstrings (and comments on fields), and what only type checkers read."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if _for_checkers(node) else node


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {_CHECKERS, f"typing.{_CHECKERS}"}


def _write(node: object, out: list[str]) -> None:
    """A syntax tree as text. Empty fields are left out: which ones there are differs between versions of Python."""
    if isinstance(node, ast.AST):
        out.append(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Constant) and name == "value":
                out.append(f" {type(value).__name__} {value!r}")
            elif value is not None and value != [] and name not in {"kind", "type_comment"}:
                out.append(f" {name}")
                _write(value, out)
        out.append(")")
    elif isinstance(node, list):
        out.append("[")
        for item in node:
            _write(item, out)
        out.append("]")
    else:
        out.append(f" {node!r}")


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = [node.module] if node.module else []
            yield from ((node.level, ".".join([*start, alias.name])) for alias in node.names)


def _imports_by_name(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and {alias.name.partition(".")[0] for alias in node.names} & _BY_NAME:
            return True
        if isinstance(node, ast.ImportFrom):
            if not node.level and (node.module or "").partition(".")[0] in _BY_NAME:
                return True
            if any(alias.name == "*" for alias in node.names):
                return True
        if isinstance(node, ast.Name) and node.id in _RUNS_TEXT:
            return True
    return False
