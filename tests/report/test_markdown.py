import re

import pytest

from fsseg_bench.report.markdown import escape, to_markdown
from fsseg_bench.report.model import Cell, Column, Table

HOSTILE = ["<script>alert(1)</script>", "a_b%", r"$&#{}~^\ ", "a|b", "**x**", "`x`", "[x](javascript:y)", "x\ny"]


def table(name: str = "panet") -> Table:
    columns = (Column(("", "method")), Column(("1-shot", "fold 1")), Column(("1-shot", "mean")))
    number = Cell("58.33 ± 1.20", 58.33, 57.0, 59.4)
    return Table("t", "Title", "Caption.", columns, 1, ((Cell(name), number, Cell("-", note="1 of 4 folds")),))


def test_the_whole_text():
    assert to_markdown(table()) == (
        "### Title\n"
        "\n"
        "| method   |   1-shot fold 1 |   1-shot mean |\n"
        "|:---------|----------------:|--------------:|\n"
        "| panet    |    58.33 ± 1.20 |         - (a) |\n"
        "\n"
        "Caption.\n"
        "\n"
        "- (a) 1 of 4 folds\n"
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_names_come_out_as_text(name: str):
    lines = to_markdown(table(name)).splitlines()
    assert len(lines) == 9, "a name never adds lines"
    row = lines[4]
    assert "<" not in row
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == 5, "nor cells"
    # Undoing the escapes by the rules of CommonMark gives the name back.
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cells[1].strip())
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.strip() == name.replace("\n", " ").strip()
    assert not re.search(r"(?<!\\)[*_`\[\]$~^]", cells[1])


def test_ranks_and_remarks():
    columns = (Column(("method",)), Column(("mean",)), Column(("binary",)))
    row = (Cell("a*"), Cell("2.00 ± 0.50", 2.0, rank=1), Cell("1.00", 1.0, rank=2, note="odd"))
    text = to_markdown(Table("t", "T", "C.", columns, 1, (row,), remarks=("All of <it>.",)))
    assert "| a\\*      | **2.00** ± 0.50 | *1.00* (a) |" in text
    assert "C. Bold: highest of its column and backbone, italic: second; no test of significance.\n" in text
    assert "\nAll of &lt;it&gt;.\n" in text


def test_numbers_in_names_stay_as_they_are():
    assert "| 1e3 " in to_markdown(table("1e3"))


def test_plain_words_are_not_touched():
    assert escape("resnet50-layer3, fold 1 (58.33 ± 1.20 %)") == "resnet50-layer3, fold 1 (58.33 ± 1.20 %)"


def test_a_table_without_rows():
    empty = Table("t", "T", "C", (Column(("a",)), Column(("b",))), 1, ())
    assert to_markdown(empty).startswith("### T\n\n| a")
