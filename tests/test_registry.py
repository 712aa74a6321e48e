"""Finding methods: built-in files, a folder of one's own, entry points; collisions and cards."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fsseg_bench import plugins, registry
from fsseg_bench.errors import UserError
from fsseg_bench.plugins.folders import package_name

ADAPTER = '''"""Constant: always background.

Title: Nothing ever happens
Authors: A. Nobody
Venue: Nowhere
Year: 1999
Fidelity: own design
Distinctive: It does nothing.
Differences: the original did something
Differences: and was slower
"""
from fsseg_bench.method import Method
from fsseg_bench.recipe import Recipe


class Constant(Method):
    def predict(self, episode):
        return episode.query.new_zeros(episode.batch, episode.ways + 1, 2, 2)

    def loss(self, episode):
        return {"zero": self.backbone(episode.query).sum() * 0}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=1, batch=1, lr=1.0)
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "do_nothing.py").write_text(ADAPTER)
    return folder


def test_built_in_methods_are_found() -> None:
    assert {"baseline", "panet", "inopt-dagger", "biopt"} <= set(registry.method_names())


def test_a_folder_of_ones_own(own: Path) -> None:
    assert "do-nothing" in registry.method_names(own)
    cls = registry.find_method("do-nothing", own)
    assert cls.__name__ == "Constant"
    assert cls.__module__ == registry.method_module("do-nothing", own) == f"{package_name('methods', own)}.do_nothing"
    assert inspect.getfile(cls) == str(own / "do_nothing.py")
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_the_environment_variable_names_the_folder_too(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_METHODS_PATH", str(own))
    assert "do-nothing" in registry.method_names()


def test_the_card_is_read_from_the_docstring(own: Path) -> None:
    card = next(c for c in registry.cards(own) if c.name == "do-nothing")
    assert card.summary == "Constant: always background."
    assert (card.title, card.authors, card.venue, card.year) == ("Nothing ever happens", "A. Nobody", "Nowhere", "1999")
    assert card.fidelity == "own design"
    assert card.differences == ("the original did something", "and was slower")


def test_cards_and_names_need_no_torch() -> None:
    code = "import sys; from fsseg_bench import registry; registry.cards(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_show_near_matches() -> None:
    with pytest.raises(UserError, match=r"unknown method 'bioptt'.*'biopt'"):
        registry.find_method("bioptt")


def test_an_unknown_name_says_how_to_name_a_folder_where_none_is(own: Path) -> None:
    with pytest.raises(UserError, match=r"A file of your own: --methods-path FOLDER\.$"):
        registry.find_method("my-own")
    with pytest.raises(UserError, match=r"Known: [^.]*\.$"):
        registry.find_method("my-own", own)


def test_two_methods_of_one_name_name_both_origins(own: Path) -> None:
    (own / "panet.py").write_text(ADAPTER)
    with pytest.raises(UserError, match=r"two methods are called 'panet'.*panet\.py and .*panet\.py"):
        registry.method_names(own)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        registry.method_names(tmp_path / "nowhere")
    (tmp_path / "my_net.py").touch()
    with pytest.raises(UserError, match=r"my_net.py is a file; give its folder; the method in it is my-net"):
        registry.method_names(tmp_path / "my_net.py")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import a_package_that_is_not_there", "cannot be imported"),
        ("def broken(:", "cannot be imported"),
        ("x = 1", "exactly one public Method subclass; found none"),
        (ADAPTER + "\n\nclass Second(Constant):\n    pass\n", "found Constant, Second"),
    ],
)
def test_files_that_are_no_methods(own: Path, content: str, told: str) -> None:
    (own / "odd.py").write_text(content)
    with pytest.raises(UserError, match=told):
        registry.find_method("odd", own)
    assert "odd" in [card.name for card in registry.cards(own)]  # listing still works


WITH_FACTOR = ADAPTER.replace("class Constant(Method):", "class Constant(Method):\n    factor = FACTOR\n")


def with_import(line: str) -> str:
    return WITH_FACTOR.replace(
        "from fsseg_bench.method import Method\n", f"from fsseg_bench.method import Method\n{line}\n"
    )


def test_a_helper_of_a_built_in_ones_name_is_the_users_own(own: Path) -> None:
    (own / "_shared.py").write_text("FACTOR = 'mine'\n")
    (own / "do_nothing.py").write_text(with_import("from ._shared import FACTOR"))
    assert registry.find_method("do-nothing", own).factor == "mine"  # type: ignore[attr-defined]
    assert registry.find_method("panet").__mro__[1].__module__ == "fsseg_methods._shared"


def test_built_in_shared_modules_and_sub_packages_can_be_imported(own: Path) -> None:
    (own / "parts" / "bare").mkdir(parents=True)
    (own / "parts" / "__init__.py").write_text("from .json import FACTOR\n")
    (own / "parts" / "json.py").write_text("from .bare.random import FACTOR\n")
    (own / "parts" / "bare" / "random.py").write_text("import json, random\nFACTOR = json.dumps(random.random() < 1)\n")
    line = "from fsseg_methods._shared import _PrototypeMethod\nfrom .parts import FACTOR"
    (own / "do_nothing.py").write_text(with_import(line))
    assert registry.find_method("do-nothing", own).factor == "true"  # type: ignore[attr-defined]


def test_two_folders_never_mix(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "odd; name-é.v2"
    other.mkdir()
    for folder, value in ((own, 1), (other, 2)):
        (folder / "_helper.py").write_text(f"FACTOR = {value}\n")
        (folder / "do_nothing.py").write_text(with_import("from ._helper import FACTOR"))
    found = [registry.find_method("do-nothing", folder) for folder in (own, other, own)]
    assert [cls.factor for cls in found] == [1, 2, 1]  # type: ignore[attr-defined]
    assert "do-nothing" not in registry.method_names()


def test_the_folders_init_is_run(own: Path) -> None:
    (own / "__init__.py").write_text("FACTOR = 'from the init'\n")
    (own / "do_nothing.py").write_text(with_import("from . import FACTOR"))
    assert registry.find_method("do-nothing", own).factor == "from the init"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["_mine", "_shared"])
@pytest.mark.parametrize("line", ["from fsseg_methods.{} import FACTOR", "from fsseg_methods import {}\nFACTOR = 1"])
def test_a_neighbour_that_is_looked_for_among_the_built_in_ones_is_refused(own: Path, name: str, line: str) -> None:
    (own / f"{name}.py").write_text("FACTOR = 1\n")
    (own / "do_nothing.py").write_text(with_import(line.format(name)))
    with pytest.raises(UserError, match=rf"do_nothing\.py: imports fsseg_methods\.{name}.*`from \.{name} import"):
        registry.find_method("do-nothing", own)


def test_a_package_beside_a_method_is_not_the_built_in_one(own: Path) -> None:
    (own / "_ppnet").mkdir()
    (own / "_ppnet" / "parts.py").write_text("from fsseg_methods._ppnet import graph\nFACTOR = 1\n")
    (own / "do_nothing.py").write_text(with_import("from ._ppnet.parts import FACTOR"))
    with pytest.raises(UserError, match=r"_ppnet/parts\.py: imports fsseg_methods\._ppnet.*`from \._ppnet import"):
        registry.find_method("do-nothing", own)


def test_a_neighbour_that_is_looked_for_on_the_python_path_is_named(own: Path) -> None:
    (own / "_mine.py").write_text("FACTOR = 1\n")
    (own / "do_nothing.py").write_text(with_import("from _mine import FACTOR"))
    with pytest.raises(UserError, match=r"No module named '_mine'; _mine lies beside it: write `from \._mine import"):
        registry.find_method("do-nothing", own)


def test_odd_names_of_files(own: Path) -> None:
    (own / "a-b c.py").write_text(ADAPTER)
    (own / "v1.2.py").write_text(ADAPTER)
    (own / "class.py").write_text(ADAPTER)
    (own / "._do_nothing.py").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves beside each file
    assert {"a-b c", "v1.2", "class", "do-nothing"} <= set(registry.method_names(own))
    assert {registry.find_method(name, own).__name__ for name in ("a-b c", "class")} == {"Constant"}
    with pytest.raises(UserError, match=r"v1\.2\.py: a file of methods has no dot in its name"):
        registry.find_method("v1.2", own)


def test_a_file_that_fails_when_it_is_imported_is_named(own: Path) -> None:
    (own / "do_nothing.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match=r"do_nothing\.py\) cannot be imported: ZeroDivisionError: division by zero"):
        registry.find_method("do-nothing", own)


def test_the_folder_of_the_built_in_methods_adds_nothing() -> None:
    folder = next(iter(registry.fsseg_methods.__path__))
    assert registry.method_names(folder) == registry.method_names()


def test_entry_points(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own.parent))
    (own / "__init__.py").write_text("")
    point = EntryPoint("third-party", "mine.do_nothing:Constant", "fsseg_bench.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    assert registry.find_method("third-party").__name__ == "Constant"
    assert next(c for c in registry.cards() if c.name == "third-party").title == "Nothing ever happens"


def test_an_entry_point_that_is_no_method(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("json", "json:loads", "fsseg_bench.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(UserError, match="loads is not a"):
        registry.find_method("json")
