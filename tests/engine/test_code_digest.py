"""The code digest sees changed code and nothing else."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.engine import code_digest

CODE = '''"""A module."""


def f(x):
    """What it does."""
    # a comment
    return x + 1
'''


def digest(folder: Path, text: str, name: str) -> str:
    file = folder / name / "m.py"
    file.parent.mkdir()
    file.write_text(text)
    return code_digest._digest((file,))


def test_only_code_counts(tmp_path: Path) -> None:
    original = digest(tmp_path, CODE, "a")
    assert digest(tmp_path, CODE.replace("# a comment", "# another"), "b") == original
    assert digest(tmp_path, CODE.replace("What it does.", "Other words."), "c") == original
    assert digest(tmp_path, CODE.replace("x + 1", "(x\n        + 1)"), "d") == original
    assert digest(tmp_path, CODE.replace("x + 1", "x + 2"), "e") != original


def test_every_deciding_file_exists() -> None:
    assert all(list(code_digest._PACKAGE.glob(pattern)) for pattern in code_digest._DECIDING)
