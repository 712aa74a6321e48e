"""A digest of the code that decides what a method computes, blind to comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

from fsseg_bench.method import Method
from fsseg_bench.registry import method_file

_PACKAGE = Path(__file__).resolve().parents[1]
_DECIDING = (
    "method.py",
    "protocol/streams.py",
    "protocol/unlabelled.py",
    "nn/**/*.py",
    *(f"data/{name}.py" for name in ("augment", "coco", "decode", "folder", "instances", "loading")),
    *(f"data/{name}.py" for name in ("mat5", "rle", "sbd", "source", "training", "voc")),
    *(f"engine/{name}.py" for name in ("build", "checkpoint", "counts", "device", "evaluate", "feed")),
    *(f"engine/{name}.py" for name in ("history", "images", "inference", "optimise", "train")),
)
"""What decides numbers and has no digest of its own (protocol, episodes and data have)."""


def method_digest(cls: type[Method]) -> str:
    """SHA-256 (hex) over the method's file, the underscore modules beside it and the code that runs it.

    A run's identity holds it, so that changed code never gets an earlier one's result.
    """
    own: list[Path] = []
    for base in cls.__mro__:
        if issubclass(base, Method) and base is not Method:
            file = method_file(base)
            own += [file, *sorted(file.parent.glob("_*.py"))]
    running = sorted(path for pattern in _DECIDING for path in _PACKAGE.glob(pattern))
    return _digest(tuple(dict.fromkeys((*own, *running))))


def _digest(files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\n{_meaning(file)}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _meaning(file: Path) -> str:
    """The syntax tree as text, without docstrings; read once a process, as the module itself is."""
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
