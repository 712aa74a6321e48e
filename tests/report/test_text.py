import csv
import io
import json
import re

import pytest

from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.text import escape, to_csv, to_json, to_markdown

HOSTILE = ["<script>alert(1)</script>", "a_b%", r"$&#{}~^\ ", "a|b", "**x**", "`x`", "[x](javascript:y)", "x\ny"]
NUMBERS = Table(
    "runs",
    "T",
    "C",
    (Column(("", "method")), Column(("1-shot", "mean"), {"shot": 1, "fold": "mean"})),
    1,
    (
        (Cell('a,"b"'), Cell("58.33 ± 1.20", 58.3333333333, 57.0, 59.4, runs=("x/1", "x/2"), rank=1)),
        (Cell("<b>\nc"), Cell("-", note="3 of 4 folds")),
    ),
    {"protocol": "toy", "way": 1},
    remarks=("About the whole.",),
)
LABELS = Table("unfinished", "U", "C", (Column(("method",)), Column(("status",))), 2, ((Cell("a"), Cell("failed")),))


def test_csv_is_long_and_keeps_full_precision():
    rows = list(csv.DictReader(io.StringIO(to_csv([NUMBERS, LABELS]))))
    assert rows[0] == {
        "table": "runs", "protocol": "toy", "way": "1", "method": 'a,"b"', "shot": "1", "fold": "mean", "status": "",
        "value": "58.3333333333", "low": "57.0", "high": "59.4", "text": "58.33 ± 1.20", "rank": "1", "note": "",
        "source": "", "runs": "x/1;x/2",
    }  # fmt: skip
    assert (rows[1]["method"], rows[1]["value"], rows[1]["low"]) == ("<b>\nc", "", "")
    assert (rows[1]["text"], rows[1]["note"]) == ("-", "3 of 4 folds")
    assert (rows[2]["table"], rows[2]["method"], rows[2]["status"]) == ("unfinished", "a", "failed")
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|x", "'+1+cmd|x"),
        ("-2+3+cmd|x", "'-2+3+cmd|x"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("-", "-"),
        ("-1.25 ± 0.50", "-1.25 ± 0.50"),
        ("+3", "+3"),
        ("a=1", "a=1"),
    ],
)
def test_no_text_is_a_formula_of_a_spreadsheet(text: str, shown: str):
    columns = (Column(("method",)), Column(("difference",)))
    table = Table("t", "T", "C", columns, 1, ((Cell(text), Cell(text, -1.25, note=text)),))
    (row,) = csv.DictReader(io.StringIO(to_csv([table])))
    assert (row["method"], row["text"], row["note"]) == (shown, shown, shown)
    assert row["value"] == "-1.25", "a negative number stays one"


def test_csv_of_nothing_is_a_header():
    assert to_csv([]) == "table,value,low,high,text,rank,note,source,runs\n"


def test_json_holds_every_field():
    document = json.loads(to_json([NUMBERS], ["x/run.json: truncated"], LABELS))
    assert document["schema"] == 2
    assert document["unfinished"] == [{"table": "unfinished", "method": "a", "status": "failed"}]
    assert json.loads(to_json([NUMBERS]))["unfinished"] == []
    assert document["skipped"] == ["x/run.json: truncated"]
    (table,) = document["tables"]
    assert (table["name"], table["title"], table["caption"], table["labels"]) == ("runs", "T", "C", 1)
    assert table["remarks"] == ["About the whole."]
    assert table["facts"] == {"protocol": "toy", "way": 1}
    assert table["columns"][1] == {"head": ["1-shot", "mean"], "facts": {"shot": 1, "fold": "mean"}}
    assert table["rows"][0][1] == {
        "text": "58.33 ± 1.20", "value": 58.3333333333, "low": 57.0, "high": 59.4, "note": "", "runs": ["x/1", "x/2"],
        "rank": 1, "source": "", "marks": [], "seen": None,
    }  # fmt: skip
    assert table["rows"][1][1]["value"] is None


def one_row(name: str = "panet") -> Table:
    columns = (Column(("", "method")), Column(("1-shot", "fold 1")), Column(("1-shot", "mean")))
    number = Cell("58.33 ± 1.20", 58.33, 57.0, 59.4)
    return Table("t", "Title", "Caption.", columns, 1, ((Cell(name), number, Cell("-", note="1 of 4 folds")),))


def test_the_whole_text():
    assert to_markdown(one_row()) == (
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
    lines = to_markdown(one_row(name)).splitlines()
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
    assert "C. Bold: best of column and backbone, italic: second; no significance test.\n" in text
    assert "\n- All of &lt;it&gt;.\n- (a) odd\n" in text


def test_numbers_in_names_stay_as_they_are():
    assert "| 1e3 " in to_markdown(one_row("1e3"))


def test_plain_words_are_not_touched():
    assert escape("resnet50-layer3, fold 1 (58.33 ± 1.20 %)") == "resnet50-layer3, fold 1 (58.33 ± 1.20 %)"


def test_a_table_without_rows():
    empty = Table("t", "T", "C", (Column(("a",)), Column(("b",))), 1, ())
    assert to_markdown(empty).startswith("### T\n\n| a")
