"""Finding methods: built-in files, a folder of one's own, entry points; collisions and cards."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fsseg_bench import registry
from fsseg_bench.errors import UserError

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
def own(tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "do_nothing.py").write_text(ADAPTER)
    yield folder
    registry.forget_methods_path(folder)


def test_built_in_methods_are_found() -> None:
    assert {"baseline", "panet", "inopt-dagger", "biopt"} <= set(registry.method_names())


def test_a_folder_of_ones_own(own: Path) -> None:
    assert "do-nothing" in registry.method_names(own)
    cls = registry.find_method("do-nothing", own)
    assert cls.__name__ == "Constant"
    assert cls.__module__ == "fsseg_methods.do_nothing"  # importable by name, so it pickles
    assert registry.method_file(cls) == own / "do_nothing.py"


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


def test_two_methods_of_one_name_name_both_origins(own: Path) -> None:
    (own / "panet.py").write_text(ADAPTER)
    with pytest.raises(UserError, match=r"two methods are called 'panet'.*panet\.py and .*panet\.py"):
        registry.method_names(own)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        registry.method_names(tmp_path / "nowhere")


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


def test_entry_points(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own.parent))
    (own / "__init__.py").write_text("")
    point = EntryPoint("third-party", "mine.do_nothing:Constant", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert registry.find_method("third-party").__name__ == "Constant"
    assert next(c for c in registry.cards() if c.name == "third-party").title == "Nothing ever happens"


def test_an_entry_point_that_is_no_method(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("json", "json:loads", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(UserError, match="loads is not a"):
        registry.find_method("json")
