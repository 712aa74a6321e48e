"""Writes the tables of switches in reference/methods.md from the methods' code: ``python docs/switch_tables.py``."""

from __future__ import annotations

import re
from pathlib import Path

from fsseg_bench.engine.switches import described
from fsseg_bench.registry import find_method

PAGE = Path(__file__).with_name("reference") / "methods.md"
_TABLE = re.compile(r"<!-- switches of (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with each table as the code has it now."""
    return _TABLE.sub(lambda found: f"<!-- switches of {found[1]} -->\n{_table(found[1])}<!-- end -->", page)


def _table(name: str) -> str:
    rows = [("switch", "default", "values", "meaning"), ("---",) * 4]
    rows += [
        (f"`{s.name}`", f"`{s.default}`", s.allowed, s.meaning.replace("|", "\\|"))
        for s in described(find_method(name))
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
