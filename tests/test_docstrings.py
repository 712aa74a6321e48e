"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.support.fresh import ROOT


def _with_examples() -> list[str]:
    files = [p for top in ("fsseg_bench", "methods/fsseg_methods") for p in sorted((ROOT / top).rglob("*.py"))]
    return [_module(path) for path in files if ">>> " in path.read_text(encoding="utf-8")]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("methods.")


def test_there_are_examples() -> None:
    assert len(_with_examples()) >= 8


@pytest.mark.parametrize("module", _with_examples())
def test_examples_run_as_printed(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0
