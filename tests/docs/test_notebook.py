"""The notebook of the documentation runs from top to bottom (here with short trainings), and holds what it printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.documented import DOCS
from tests.support.fresh import ROOT

NOTEBOOK = DOCS / "notebooks" / "first_steps.ipynb"


def cells() -> list[Any]:
    return [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'methods'}")
    notebook = nbformat.read(NOTEBOOK, 4)
    short = "from tests.support.documented import shorten\nshorten()"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(short))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "report.html").is_file()


def test_it_shows_what_it_printed() -> None:
    assert [cell.execution_count for cell in cells()] == list(range(1, len(cells()) + 1))
    assert all(cell.outputs for cell in cells())
    assert not [output for cell in cells() for output in cell.outputs if output.output_type == "error"]


def test_it_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(word in text for word in ("/home/", "/root/", "/tmp/", "/work/"))
