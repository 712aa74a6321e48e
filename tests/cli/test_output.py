from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from fsseg_bench.cli.output import Form, put_tables
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.text import to_markdown

COLUMNS = (Column(("", "group"), merge=True), Column(("", "method")), Column(("1-shot", "mean")))
WIDE = Table("w", "", "", (Column(("method",)), Column(("difference",))), 1, ((Cell("a"), Cell("+1.00", 1.0)),))
ROWS = (
    (Cell("one"), Cell("a [b]"), Cell("31.00 ± 2.00", 31.0, rank=2)),
    (Cell("one"), Cell("b"), Cell("32.00 ± 1.00", 32.0, rank=1, note="few images")),
    (Cell("two"), Cell("c"), Cell("-")),
)
TABLE = Table("t", "The title", "The caption.", COLUMNS, 2, ROWS, remarks=("A remark " + "and more " * 12,))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes standard output a terminal of 60 columns, once the test runs."""

    def make() -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "60")

    return make


def test_a_terminal_gets_a_drawn_table(terminal: Callable[[], None], capsys: pytest.CaptureFixture[str]):
    terminal()
    put_tables([TABLE])
    out = capsys.readouterr().out
    assert "\x1b[1m32.00\x1b[0m" in out
    lines = click.unstyle(out).splitlines()
    assert lines[:8] == [
        "The title",
        "                         1-shot",
        "group  method              mean",
        "───────────────────────────────",
        "one    a [b]   31.00 ± 2.00    ",
        "       b       32.00 ± 1.00 (a)",
        "───────────────────────────────",
        "two    c                  -    ",
    ]
    assert lines[8] == "(a) few images"
    assert lines[9] == ""
    assert lines[10].startswith("The caption. Bold: best of column")
    assert lines[11].startswith("  ")
    assert lines[-2].startswith("A remark and more")
    assert max(map(len, lines)) <= 60


def test_a_long_label_is_wrapped_and_no_number_is_cut(terminal: Callable[[], None], capsys: pytest.CaptureFixture[str]):
    terminal()
    columns = Column(("method",)), Column(("mean",))
    row = Cell("m" * 70), Cell("31.00 ± 2.00", 31.0, note="few images")
    put_tables([Table("t", "The title", "", columns, 1, (row,))])
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert any(line.endswith("  31.00 ± 2.00 (a)") for line in lines)
    assert "".join(lines).count("m") == 70 + 3
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(("form", "begins"), [("markdown", "### The"), ("latex", "% needs"), ("csv", "table,")])
def test_a_form_that_is_asked_for_is_kept(
    terminal: Callable[[], None], capsys: pytest.CaptureFixture[str], form: Form, begins: str
):
    terminal()
    put_tables([TABLE], form)
    assert capsys.readouterr().out.startswith(begins)


def test_pipes_and_files_get_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    put_tables([TABLE, TABLE])
    assert capsys.readouterr().out == to_markdown(TABLE) + "\n" + to_markdown(TABLE)
    out = tmp_path / "t.md"
    put_tables([TABLE], out=str(out))
    assert out.read_text() == to_markdown(TABLE)


def test_a_terminal_does_not_draw_into_a_file(terminal: Callable[[], None], tmp_path: Path):
    terminal()
    put_tables([TABLE], out=str(tmp_path / "t.md"))
    assert (tmp_path / "t.md").read_text() == to_markdown(TABLE)


def test_numbers_stand_under_the_end_of_a_longer_heading(
    terminal: Callable[[], None], capsys: pytest.CaptureFixture[str]
):
    terminal()
    put_tables([WIDE])
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert (lines[0], lines[2]) == ("method  difference", "a            +1.00")
