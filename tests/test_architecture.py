"""Who may import whom. The arrows keep reports free of torch and the library free of methods."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import ROOT, python

TABLE = ROOT / "docs" / "explanation" / "architecture.md"


def _allowed() -> dict[str, set[str]]:
    """Each area of fsseg_bench (a folder or a file at the top) and the areas that it may import besides itself."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {area: set(re.findall(r"`(\w+)`", words)) for area, words in rows}
    ground = set(list(named)[: list(named).index("protocol")])
    return {area: named[area] | (ground if words.startswith("ground") else set()) for area, words in rows}


ALLOWED = _allowed()
_TORCH_FREE = {"records", "sweeps", *ALLOWED["records"]}
METHODS_MAY_IMPORT = {"errors", "protocol", "nn", "method", "recipe", "schema"}
METHODS_MUST_NOT_IMPORT = {"io", "json", "logging", "os", "pathlib", "pandas", "PIL", "shutil", "subprocess", "sys"}

LIBRARY = sorted(path for ending in ("py", "pyi") for path in (ROOT / "fsseg_bench").rglob(f"*.{ending}"))
METHODS = sorted((ROOT / "methods" / "fsseg_methods").rglob("*.py"))


def imported(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Dotted names of everything imported, in functions and under TYPE_CHECKING too, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def areas(tree: ast.AST, package: list[str]) -> set[str]:
    """The areas of fsseg_bench that a file imports; ``""`` is fsseg_bench itself."""
    parts = [name.split(".") for name in imported(tree, package)]
    return {p[1] if len(p) > 1 else "" for p in parts if p[0] == "fsseg_bench"}


def area_of(path: Path) -> str:
    return path.relative_to(ROOT / "fsseg_bench").parts[0].partition(".")[0]


def package_of(path: Path) -> list[str]:
    return list(path.parent.relative_to(ROOT).parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import fsseg_bench.engine.run", {"engine"}),
        ("import numpy, fsseg_bench.data as d", {"data"}),
        ("import fsseg_bench", {""}),
        ("from fsseg_bench import paths", {"paths"}),
        ("from fsseg_bench.cli.main import main", {"cli"}),
        ("def f():\n    from fsseg_bench.nn import weights", {"nn"}),
        ("if TYPE_CHECKING:\n    from fsseg_bench.method import Method", {"method"}),
        ("from . import table", {"report"}),
        ("from .table import Table", {"report"}),
        ("from ..engine.run import run", {"engine"}),
        ("from .. import engine", {"engine"}),
        ("import torch", set()),
    ],
)
def test_the_walk_sees_every_kind_of_import(text: str, expected: set[str]) -> None:
    assert areas(ast.parse(text), ["fsseg_bench", "report"]) == expected


def test_the_table_names_every_area_and_no_other() -> None:
    assert list(ALLOWED)[:2] == ["errors", "version"]
    assert set(ALLOWED) == {area_of(path) for path in LIBRARY}


def test_there_is_something_to_walk() -> None:
    assert len(LIBRARY) > 20
    assert len(METHODS) > 3


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_follows_the_arrows(path: Path) -> None:
    area = area_of(path)
    assert area in ALLOWED, f"{area} is a new area: say in ALLOWED what it may import"
    forbidden = areas(parse(path), package_of(path)) - ALLOWED[area] - {area}
    assert not forbidden, f"{name_of(path)} imports {', '.join(sorted(forbidden))}"


def test_the_arrows_have_no_circle() -> None:
    """Every area can be put after all that it imports."""
    left, done = dict(ALLOWED), set[str]()
    while left:
        ready = {area for area, needs in left.items() if needs - {area} <= done}
        assert ready, f"a circle among {', '.join(sorted(left))}"
        done |= ready
        left = {area: needs for area, needs in left.items() if area not in ready}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_names_no_method(path: Path) -> None:
    """The registry may know the folder of methods; nothing may know a method in it."""
    tree = parse(path)
    names = {name for name in imported(tree, package_of(path)) if name.split(".")[0] == "fsseg_methods"}
    assert names <= ({"fsseg_methods"} if area_of(path) == "registry" else set())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not [word for word in words if word.startswith("fsseg_methods.")]


@pytest.mark.parametrize("path", [path for path in LIBRARY if area_of(path) != "records"], ids=name_of)
def test_records_are_read_by_typed_fields(path: Path) -> None:
    """mypy then knows every setting. The whole document and the stored scores are for people: two files show them,
    and one compares them."""
    nodes = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)]
    of_info = {node.attr for node in nodes if isinstance(node.value, ast.Attribute) and node.value.attr == "info"}
    allowed = {"runs.py": {"document"}, "verify.py": {"scores"}}
    assert of_info & {"document", "scores"} <= allowed.get(path.name, set())
    keys = {node.value for node in ast.walk(parse(path)) if isinstance(node, ast.Constant)}
    assert "passed" not in keys or path.name == "runs.py"


@pytest.mark.parametrize("path", METHODS, ids=name_of)
def test_methods_import_the_contract_only(path: Path) -> None:
    tree = parse(path)
    package = list(path.parent.relative_to(ROOT / "methods").parts)
    assert areas(tree, package) <= METHODS_MAY_IMPORT
    assert not {name.split(".")[0] for name in imported(tree, package)} & METHODS_MUST_NOT_IMPORT
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "print"}


def torch_free() -> list[str]:
    """Modules whose import must not bring torch: what list, report and compare need."""
    files = [path for path in LIBRARY if area_of(path) in {*_TORCH_FREE, "plugins", "registry", "report"}]
    files += [ROOT / "fsseg_bench" / name for name in ("cli/main.py", "cli/report.py", "cli/listing.py")]
    files += [ROOT / "fsseg_bench" / name for name in ("nn/catalogue.py", "data/index.py")]
    files += sorted((ROOT / "fsseg_bench" / "data" / "sources").glob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names]


def test_reports_start_without_torch() -> None:
    code = "import sys, importlib\nfor name in sys.argv[1:] or NAMES:\n    importlib.import_module(name)\n"
    code += "    assert 'torch' not in sys.modules, f'{name} imports torch'\nprint(len(sys.modules))"
    assert int(python(code.replace("NAMES", repr(torch_free())))) > 50
    for module in ("load", "episodes", "scoring", "statistics"):
        assert f"fsseg_bench.protocol.{module}" in torch_free()
