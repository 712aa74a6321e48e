"""A digest of the code that decides what a method computes, blind to comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

import fsseg_bench.nn
from fsseg_bench.method import Method
from fsseg_bench.registry import method_file


def method_digest(cls: type[Method]) -> str:
    """SHA-256 (hex) over the method's file, the underscore modules beside it and the shared parts in ``nn``.

    A run's identity holds it, so that a changed method never gets an earlier one's result.
    """
    file = method_file(cls)
    shared = sorted(Path(fsseg_bench.nn.__path__[0]).rglob("*.py"))
    return _digest((file, *sorted(file.parent.glob("_*.py")), *shared))


@lru_cache(maxsize=64)
def _digest(files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\n{_meaning(file)}\n".encode())
    return total.hexdigest()


def _meaning(file: Path) -> str:
    """The syntax tree as text, without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(statement: ast.AST) -> bool:
    """A string that stands alone: a docstring, or a comment on a field."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
