"""Files that texts outside the documentation name are there. (Sphinx checks the links of its own pages.)"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.documented import name_of
from tests.support.fresh import ROOT

TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
TEXTS += [ROOT / "methods" / "README.md", ROOT / "results" / "published" / "README.md"]
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_NAMED = re.compile(r"\bdocs/[\w./-]+\.(?:md|py)\b")


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_that_files_name_are_there() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    suffixes = {".py", ".toml", ".md", ".yml", ""}
    files = [ROOT / name for name in listed.stdout.split("\0") if name and Path(name).suffix in suffixes]
    named = {(file, name) for file in files if file.is_file() for name in _NAMED.findall(file.read_text("utf-8"))}
    assert len(named) > 20
    assert sorted(f"{file.name}: {name}" for file, name in named if not (ROOT / name).exists()) == []
