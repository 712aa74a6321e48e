from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.figures.canvas import COLOURS, colour, label, new_figure, save_all, save_as

HEADS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def drawn(title: str = "a title"):
    figure = new_figure(2, 1)
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], label="line")
    axes.legend()
    axes.set_title(label(title))
    return figure


@pytest.mark.slow
def test_every_format_and_equal_figures_give_equal_files(tmp_path: Path):
    paths = save_all(drawn(), tmp_path / "new" / "folder", "name", ["png", "svg", "pdf"])
    assert [path.name for path in paths] == ["name.png", "name.svg", "name.pdf"]
    for path in paths:
        assert path.read_bytes().startswith(HEADS[path.suffix[1:]])
        again = path.with_stem("again")
        save_as(drawn(), again)
        assert again.read_bytes() == path.read_bytes(), path.suffix


def test_names_from_records_are_text(tmp_path: Path):
    hostile = r"a_b% $x^$ \frac{$1$} <script>" + "\x1b[2J"
    save_as(drawn(hostile), tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    assert "<script>" not in text
    assert "a_b% $x^$ \\frac{$1$} &lt;script&gt;" in text
    assert "\x1b" not in text


def test_what_cannot_be_written(tmp_path: Path):
    with pytest.raises(UserError, match="unknown figure format 'gif'"):
        save_as(drawn(), tmp_path / "f.gif")
    with pytest.raises(UserError, match=r"f\.png: cannot be written"):
        save_as(drawn(), tmp_path / "none" / "f.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="folder: cannot be written"):
        save_all(drawn(), tmp_path / "file" / "folder", "f", ["png"])


def test_colours_repeat():
    assert colour(0) == colour(len(COLOURS)) != colour(1)
