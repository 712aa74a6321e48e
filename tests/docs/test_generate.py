"""The tables of the pages that come from the code are as the code has them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.engine.switches import described
from fsseg_bench.registry import find_method, method_names
from tests.support.documented import DOCS, name_of

SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("page", SCRIPT["pages"](), ids=name_of)
def test_tables_are_as_the_code_has_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert SCRIPT["with_tables"](text) == text, "run: python docs/generate.py"


def test_every_method_has_its_switches_with_their_meaning() -> None:
    page = (DOCS / "reference" / "methods.md").read_text(encoding="utf-8")
    for name in method_names():
        assert f"<!-- table: switches {name} -->" in page
        assert all(switch.meaning and switch.allowed for switch in described(find_method(name))), name


def test_every_key_of_a_protocol_has_a_meaning() -> None:
    lines = [line for name in SCRIPT["_SECTIONS"] for line in SCRIPT["_protocol"](name).splitlines()]
    assert len(lines) > 30
    assert not [line for line in lines if line.endswith("|  |")]
