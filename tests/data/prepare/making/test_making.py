"""What is made: once, again when its files or its rule change, and nothing of before is left over."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from fsseg_bench.data.prepare import making as module
from fsseg_bench.data.prepare.making import Making, made_by, make
from fsseg_bench.data.prepare.manifest import Content, Manifest, read_manifest
from fsseg_bench.data.prepare.sources import Dataset, Part
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress

PART = Part("Set", "free", "x.zip", (), 0, 0, ".", "raw", {"*.txt": 1})
object.__setattr__(PART, "name", "raw")
DATASET = Dataset("set", ("set",), None, (PART,), {}, None, make="rule")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rule: the words of each raw file as files. How often it ran."""
    runs: list[int] = []

    def rule(making: Making) -> None:
        runs.append(len(runs))
        for path in sorted((making.root / "raw").glob("*.txt")):
            making.link(path, f"out/{path.name}")
            for word in path.read_text().split():
                making.write(f"out/{path.stem}/{word}", word.encode())
        making.note(f"run {len(runs)}")

    name = f"{module.__name__}.rule"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules[name], "make", rule, raising=False)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    return runs


def given(root: Path, text: str) -> None:
    (root / "raw").mkdir(parents=True, exist_ok=True)
    (root / "raw/a.txt").write_text(text)
    Manifest("raw", "x", {"raw/a.txt": Content(len(text), hash(text) & 0xFFFFFFFF)}).write(root)


def words(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "out/a").iterdir())


def test_made_once_and_again_after_a_change(tmp_path: Path, made: list[int]) -> None:
    given(tmp_path, "one two")
    make(DATASET, tmp_path, Progress())
    record = read_manifest(tmp_path, made_by(DATASET))
    assert record is not None
    assert record.files["out/a/one"] == Content(3, 0x7A6C86F1)  # CRC-32 of "one", by zlib's command line
    assert record.notes == ("run 1",)
    assert sorted(record.files) == ["out/a.txt", "out/a/one", "out/a/two"]
    assert (tmp_path / "out/a.txt").samefile(tmp_path / "raw/a.txt")
    make(DATASET, tmp_path, Progress())
    assert made == [0]
    (tmp_path / "out/a/one").unlink()
    make(DATASET, tmp_path, Progress())
    assert words(tmp_path) == ["one", "two"]
    given(tmp_path, "two three")
    (tmp_path / "out/a/mine").touch()
    make(DATASET, tmp_path, Progress())
    assert made == [0, 1, 2]
    assert words(tmp_path) == ["mine", "three", "two"]  # "one" was made before; "mine" was not


def test_two_files_of_one_name(tmp_path: Path, made: list[int]) -> None:
    given(tmp_path, "one one")
    with pytest.raises(UserError, match=r"out/a/one: would be made twice"):
        make(DATASET, tmp_path, Progress())
    assert read_manifest(tmp_path, made_by(DATASET)) is None
