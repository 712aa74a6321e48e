"""Import closures: every kind of import statement, against packages written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.engine.closure import Module, closure, read_source
from fsseg_bench.errors import UserError

CODE = '''"""A module."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from somewhere import Type


class C:
    x: int = 1
    """A field."""


def f(x: Type):
    """What it does."""
    # a comment
    return x + 1
'''


def meaning(folder: Path, text: str) -> str:
    file = folder / "m.py"
    file.write_text(text)
    return read_source(file).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ("What it does.", "Other words."),
        ('    """A field."""\n', ""),
        ("x + 1", "(x\n        + 1)"),
        ("from somewhere import Type", "from elsewhere import Type"),
        ('"""A module."""', "'''A module with other words.'''"),
    ],
)
def test_comments_docstrings_layout_and_types_of_checkers_do_not_count(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert meaning(tmp_path, CODE.replace(old, new)) == meaning(tmp_path, CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ("x + 1", "x - 1"),
        ("x + 1", "x + 1.0"),
        ("x + 1", "x + True"),
        ("return x + 1", "yield x + 1"),
        ("int = 1", "int = None"),
        ("def f(x: Type)", "def f(x: Type = None)"),
        ("def f(x: Type)", "def f(x: Type, /)"),
        ("def f(x: Type)", "def f(*, x: Type)"),
        ("if TYPE_CHECKING:", "if not TYPE_CHECKING:"),
        ("if TYPE_CHECKING:", "TYPE_CHECKING = True\nif TYPE_CHECKING:"),
    ],
)
def test_what_is_run_counts(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert meaning(tmp_path, CODE.replace(old, new)) != meaning(tmp_path, CODE)


def write(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"top": Module(folder / "top" / "__init__.py", (str(folder / "top"),))}


def names(folder: Path, text: str, **options: object) -> set[str]:
    """What counts, besides the packages on the way, when ``top.start`` says ``text``."""
    files = {f"top/{name}.py": "" for name in ("__init__", "a", "b", "sub/__init__", "sub/c", "sub/d")}
    files |= {"top/bare/e.py": "", "top/lazy/f.py": ""}
    files["top/lazy/__init__.py"] = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from top.lazy.f import F\n"
        "def __getattr__(name):\n    raise AttributeError\n"
    )
    files |= {f"top/stub/{name}.py": "" for name in ("__init__", "a", "sub/__init__", "sub/c")}
    files["top/stub/__init__.pyi"] = "from .a import A as A\nfrom .sub.c import C as C\nfrom top.b import B\n"
    tops = write(folder, files | {"top/start.py": text, "top/sub/start.py": text})
    found = closure(["top.start"], tops, **options)  # type: ignore[arg-type]
    return set(found) - {"top", "top.start"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import top.a", {"top.a"}),
        ("import top.sub.c as x", {"top.sub", "top.sub.c"}),
        ("from top import a", {"top.a"}),
        ("from top.a import value", {"top.a"}),
        ("from top.sub import c, thing", {"top.sub", "top.sub.c"}),
        ("from . import a", {"top.a"}),
        ("from .a import value", {"top.a"}),
        ("from .sub.c import value", {"top.sub", "top.sub.c"}),
        ("def f():\n    from .a import value", {"top.a"}),
        ("try:\n    import top.a\nexcept ImportError:\n    import top.b", {"top.a", "top.b"}),
        ("class C:\n    if True:\n        from . import a", {"top.a"}),
        ("from .bare.e import x", {"top.bare", "top.bare.e"}),
        ("from top.lazy import F", {"top.lazy", "top.lazy.f"}),
        ("from top.lazy import G", {"top.lazy"}),
        ("from top.stub import A", {"top.stub", "top.stub.a"}),
        ("from .stub import C, D", {"top.stub", "top.stub.sub", "top.stub.sub.c"}),
        ("from .stub import B", {"top.stub", "top.b"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from top import a", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    from top import a", {"top.a"}),
        ("import os, json, torch, numpy.linalg", set()),
        ("import top.nowhere", set()),
        ("from .sub import *", {"top.a", "top.b", "top.sub", "top.sub.c", "top.sub.d", "top.bare.e", "top.lazy.f"}),
    ],
)
def test_every_kind_of_import(tmp_path: Path, text: str, expected: set[str]) -> None:
    found = names(tmp_path, text)
    assert found == expected if "*" not in text else found >= expected


@pytest.mark.parametrize(
    "text",
    [
        "import importlib",
        "import lazy_loader as lazy",
        "from importlib import import_module",
        "import runpy",
        "exec('1')",
    ],
)
def test_a_file_that_imports_by_name_counts_with_its_whole_package(tmp_path: Path, text: str) -> None:
    assert {"top.a", "top.b", "top.sub.d", "top.bare.e"} <= names(tmp_path, text)
    assert names(tmp_path, text, by_name={"top.start", "top.sub.start"}) == set()


def test_what_is_left_out_leads_no_further(tmp_path: Path) -> None:
    tops = write(
        tmp_path, {"top/__init__.py": "", "top/a.py": "import top.b", "top/b.py": "import top.c", "top/c.py": ""}
    )
    assert set(closure(["top.a"], tops)) == {"top", "top.a", "top.b", "top.c"}
    assert set(closure(["top.a"], tops, without={"top.b"})) == {"top", "top.a"}


def test_circles_end(tmp_path: Path) -> None:
    tops = write(
        tmp_path, {"top/__init__.py": "import top.a", "top/a.py": "import top.b", "top/b.py": "from . import a"}
    )
    assert set(closure(["top.b"], tops)) == {"top", "top.a", "top.b"}


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    files = {"top/__init__.py": "", "top/a.py": "def broken(:", "top/b.py": "from top import X"}
    tops = write(tmp_path, files | {"top/__init__.pyi": "from broken"})
    with pytest.raises(UserError, match=r"a\.py: is not Python"):
        closure(["top.a"], tops)
    with pytest.raises(UserError, match=r"__init__\.pyi: is not Python"):
        closure(["top.b"], tops)
