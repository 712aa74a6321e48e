"""A run's identity sees changed code: each file of its import closure, and no other."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.engine import code_digest
from fsseg_bench.engine.closure import Module, read_source
from fsseg_bench.registry import find_method, method_module, method_names
from tests.support.fresh import ROOT, python

PACKAGES = {"fsseg_bench": ROOT / "fsseg_bench", "fsseg_methods": ROOT / "methods" / "fsseg_methods"}


def tree(folder: Path) -> dict[str, Module]:
    """Packages that lie in ``folder``, as places for :func:`code_of`."""
    return {p.name: Module(p / "__init__.py", (str(p),)) for p in sorted(folder.iterdir()) if p.is_dir()}


def copied(folder: Path) -> dict[str, Module]:
    for name, place in PACKAGES.items():
        shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree(folder)


def starts(method: str, source: str = "voc", backbone: str = "resnet50") -> list[str]:
    names = (f"fsseg_bench.data.sources.{source}", f"fsseg_bench.nn.networks.{backbone}", f"fsseg_methods.{method}")
    return [code_digest.ENTRY, *names]


def identity(method: str, tops: dict[str, Module], source: str = "voc") -> str:
    return code_digest.digest({n: text for n, (_, text) in code_digest.code_of(starts(method, source), tops).items()})


def files(method: str, source: str = "voc", backbone: str = "resnet50") -> set[str]:
    return set(code_digest.code_of(starts(method, source, backbone), tree_of_the_package()))


def tree_of_the_package() -> dict[str, Module]:
    return {name: Module(place / "__init__.py", (str(place),)) for name, place in PACKAGES.items()}


def with_one_token_changed(text: str) -> str:
    """Python text in which one name or constant that is run is another one."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.test, node.body = ast.Constant(False), []  # for type checkers alone, so that it is never run
    live = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in {int, float})
    ]
    if not live:
        return text + "\nCHANGED = 1\n"
    node = live[-1]
    lines = text.encode().split(b"\n")
    line = lines[node.lineno - 1]
    token = line[node.col_offset : node.end_col_offset]
    changed = repr(node.value + 1).encode() if isinstance(node, ast.Constant) else token + b"_"
    lines[node.lineno - 1] = line[: node.col_offset] + changed + line[node.end_col_offset :]
    return b"\n".join(lines).decode()


@pytest.mark.slow
def test_one_token_in_each_file_that_counts_gives_another_identity_and_in_no_other(tmp_path: Path) -> None:
    tops = copied(tmp_path)
    counted = code_digest.code_of(starts("ppnet_ud"), tops)
    before = identity("ppnet_ud", tops)
    unseen, seen = [], []
    for path in sorted(tmp_path.rglob("*.py")):
        name = ".".join(path.relative_to(tmp_path).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        path.write_text(with_one_token_changed(text), encoding="utf-8")
        changed = identity("ppnet_ud", tops) != before
        path.write_text(text, encoding="utf-8")
        if name in counted and not changed:
            unseen.append(name)
        if name not in counted and changed:
            seen.append(name)
    assert (unseen, seen) == ([], [])
    assert len(counted) > 50
    assert set(code_digest.EXCLUDED) & counted.keys() == set()


ENGINE = ["evaluate", "counts", "train", "optimise", "inference", "cache", "plan", "run"]
BELOW = ["data.index", "data.training", "data.decode", "nn.weights", "nn.backbones.resnet", "protocol.table", "method"]


@pytest.mark.parametrize("name", [*(f"engine.{name}" for name in ENGINE), *BELOW])
def test_the_engine_and_what_it_stands_on_count(name: str) -> None:
    assert f"fsseg_bench.{name}" in files("baseline")


def test_zeroed_features_in_the_reader_are_another_run(tmp_path: Path) -> None:
    tops = copied(tmp_path)
    before = identity("panet", tops)
    reader = tmp_path / "fsseg_bench" / "engine" / "reader.py"
    text = reader.read_text()
    assert "[unpacked(found[key], " in text
    reader.write_text(text.replace("[unpacked(found[key], ", "[unpacked(found[key] * 0, "))
    assert identity("panet", tops) != before


def test_only_what_a_method_imports_counts_for_it() -> None:
    assert "fsseg_methods._shared" in files("ppnet")
    for method in ("baseline", "panet", "biopt", "fwb"):
        assert "fsseg_methods._ppnet.unlabelled" not in files(method)
        assert "fsseg_methods.ppnet" not in files(method)
    assert "fsseg_methods._ppnet.unlabelled" in files("ppnet_ud")


def test_only_the_backbone_that_is_used_counts() -> None:
    resnet, vgg = (files("canet", backbone=name) for name in ("resnet50", "vgg16"))
    networks = {name for name in resnet | vgg if name.startswith(("fsseg_bench.nn.networks.", "fsseg_bench.nn.back"))}
    differ = {name.rpartition(".")[2] for name in networks if (name in resnet) != (name in vgg)}
    assert differ == {"resnet50", "resnet", "vgg16", "vgg"}
    assert {"fsseg_bench.nn.networks.vgg16", "fsseg_bench.nn.backbones.vgg"} <= vgg - resnet


def test_only_the_source_that_is_used_counts() -> None:
    voc, coco, shapes = (files("baseline", source) for source in ("voc", "coco", "shapes"))
    assert {"fsseg_bench.data.sbd"} <= voc
    assert {"fsseg_bench.data.instances", "fsseg_bench.data.coco_json"} <= coco
    assert {"fsseg_bench.data.shapes_draw", "fsseg_bench.data.shapes_scene"} <= shapes
    assert not [name for name in voc if "coco" in name or "shapes" in name]
    assert "fsseg_bench.data.sources.voc" not in coco


def test_nothing_that_shows_results_counts() -> None:
    areas = {name.split(".")[1] for name in files("ppnet_ud") if name.startswith("fsseg_bench.")}
    ground = {"conventions", "machine", "storage"}
    assert areas <= {*ground, "data", "engine", "method", "nn", "protocol", "recipe", "records"}


def test_what_is_excluded_exists_and_would_count() -> None:
    """Each line of the list is needed: without it the module would be in the closure."""
    everything = code_digest.closure(starts("baseline"), tree_of_the_package(), by_name={"fsseg_bench"})
    assert set(code_digest.EXCLUDED) <= everything.keys()
    assert all(code_digest.EXCLUDED.values())


def test_every_import_by_name_is_known() -> None:
    """What no syntax tree shows: a file of the package that imports by name must be dealt with by name."""
    found = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
        if read_source(path).by_name
    }
    # The lazy tables of public names and of commands (which no run imports), the finder of plug-ins (excluded: what it
    # finds counts), versions of packages (excluded), trackers (behind what is excluded), rules that make data sets
    # (which no run imports), the processes of a pool (they begin runs as any command does), and this digest itself.
    known = {"fsseg_bench", "fsseg_bench.cli.main", "fsseg_bench.records.provenance"}
    known |= {"fsseg_bench.trackers.family", "fsseg_bench.trackers.mlflow", "fsseg_bench.data.prepare.making"}
    known |= {"fsseg_bench.plugins", "fsseg_bench.plugins.folders", "fsseg_bench.plugins.hollow"}
    assert found == {*known, "fsseg_bench.machine.pool_worker", "fsseg_bench.engine.closure"}


def test_all_methods_have_a_digest_of_their_own() -> None:
    digests = {
        code_digest.method_digest([find_method(name)], [method_module(name)], VocSource)
        for name in method_names()
        if name != "demanding"
    }
    assert len(digests) == len(method_names())


METHOD = '''"""A method."""
from fsseg_bench.method import Method
{imports}


class Theirs(Method):
    def predict(self, episode):
        return episode.query[:, :2] * FACTOR

    def loss(self, episode):
        return {{"zero": self.backbone(episode.query).sum() * 0}}

    @classmethod
    def recipe(cls, protocol, shot):
        from fsseg_bench.recipe import Recipe

        return Recipe(iterations=1, batch=1, lr=1.0)
'''
ASK = """
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.engine.code_digest import method_digest
from fsseg_bench.registry import find_method, method_module
print(method_digest([find_method({0!r}, {1!r})], [method_module({0!r}, {1!r})], VocSource))
"""


def asked(name: str, folder: Path | None, *paths: Path) -> str:
    """The digest that a process of its own finds."""
    return python(ASK.format(name, str(folder or "")), *paths)


@pytest.mark.slow
def test_a_helper_of_an_installed_package_counts(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    package = site / "their_package"
    (package / "inside").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inside" / "__init__.py").write_text("from their_package.inside.helper import FACTOR\n")
    (package / "inside" / "helper.py").write_text("from .. import numbers_of_theirs\nFACTOR = numbers_of_theirs.F\n")
    (package / "numbers_of_theirs.py").write_text("F = 1.0\n")
    (package / "unused.py").write_text("x = 1\n")
    (package / "methods.py").write_text(METHOD.format(imports="from .inside import FACTOR"))
    (package / "api.py").write_text("from their_package.methods import Theirs\nTheirs.temperature = 1.0\n")
    info = site / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fsseg_bench.methods]\ntheirs = their_package.api:Theirs\n")
    assert changed_by(package / "numbers_of_theirs.py", "1.0", "2.0", lambda: asked("theirs", None, site))

    def found() -> str:
        begin, tops = ["their_package.api", "their_package.methods"], {**tree_of_the_package(), **tree(site)}
        return code_digest.digest({n: text for n, (_, text) in code_digest.code_of(begin, tops).items()})

    assert changed_by(package / "api.py", "1.0", "2.0", found)
    assert changed_by(package / "inside" / "__init__.py", "import F", "import F, F", found)
    assert changed_by(package / "numbers_of_theirs.py", "1.0", "1.5", found)
    assert not changed_by(package / "unused.py", "1", "2", found)


def changed_by(file: Path, old: str, new: str, ask: Callable[[], str]) -> bool:
    """Whether ``ask`` has another answer while ``file`` says ``new`` instead of ``old``."""
    before, text = ask(), file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = ask()
    file.write_text(text)
    return after != before


@pytest.mark.slow
def test_a_helper_in_a_users_folder_counts_and_the_folders_place_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "parts" / "deep").mkdir(parents=True)
    (folder / "theirs.py").write_text(METHOD.format(imports="from .parts.deep._numbers import FACTOR"))
    (folder / "parts" / "deep" / "_numbers.py").write_text("from ..._shared import FACTOR\n")
    (folder / "_shared.py").write_text("FACTOR = 1.0  # the built-in one has no such name\n")
    before = asked("theirs", folder)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "odd name; é")
    assert asked("theirs", moved) == before
    (folder / "_shared.py").write_text("FACTOR = 2.0\n")
    assert asked("theirs", folder) != before


@pytest.mark.slow
def test_what_a_users_file_imports_from_the_python_path_or_by_name_counts(tmp_path: Path) -> None:
    folder, beside = tmp_path / "mine", tmp_path / "library"
    folder.mkdir()
    beside.mkdir()
    (folder / "theirs.py").write_text(METHOD.format(imports="from lab_library import FACTOR"))
    (beside / "lab_library.py").write_text("FACTOR = 1.0\n")
    ask = partial(asked, "theirs", folder, beside)
    assert changed_by(beside / "lab_library.py", "1.0", "2.0", ask)
    by_name = 'import importlib\nFACTOR = importlib.import_module("._hidden", __package__).FACTOR'
    (folder / "theirs.py").write_text(METHOD.format(imports=by_name))
    (folder / "_hidden.py").write_text("FACTOR = 1.0\n")
    assert changed_by(folder / "_hidden.py", "1.0", "2.0", ask)


def test_code_that_changed_under_a_running_process_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "theirs.py").write_text(METHOD.format(imports="from ._helper import FACTOR"))
    (folder / "_helper.py").write_text("FACTOR = 1.0\n")

    def found() -> str:
        return code_digest.method_digest([find_method("theirs", folder)], [method_module("theirs", folder)], VocSource)

    before = found()
    (folder / "_helper.py").write_text("FACTOR = 1.0  # a comment\n")
    assert found() == before
    (folder / "_helper.py").write_text("FACTOR = 2.0\n")
    with pytest.raises(code_digest.UserError, match=r"_helper\.py .* has changed since .*start Python again"):
        found()
