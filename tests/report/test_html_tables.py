from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import tables
from fsseg_bench.report.html.runs import groups, shown_runs, step_tables
from fsseg_bench.report.html.tables import table_html
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.text import to_csv
from tests.support.page import HOSTILE, Page
from tests.support.readers import texts
from tests.support.runs import write_run

COLUMNS = (Column(("", "method")), Column(("1-shot", "fold 1")), Column(("1-shot", "mean")))


def shown(page: Page) -> str:
    """The text before what can be copied."""
    return page.text.partition(" as LaTeX ")[0]


def table(*rows: tuple[Cell, ...], columns: tuple[Column, ...] = COLUMNS, labels: int = 1) -> Table:
    return Table("t", "Title", "Caption.", columns, labels, rows)


def test_cells_intervals_and_footnotes():
    number = Cell("58.33 ± 1.20", 58.333, 57.1, 59.5, runs=("toy/a", "toy/b"))
    page = Page(table_html(table((Cell("panet"), number, Cell("-", note="1 of 4 folds")))))
    assert shown(page) == (
        "Title 1-shot method fold 1 mean panet 58.33 ± 1.20 95 % interval 57.10 to 59.50 run toy/a run toy/b "
        "- a 1 of 4 folds Caption. a 1 of 4 folds"
    )
    assert [cell.get("tabindex") for cell in page.all("td")] == [None, "0", "0"]
    assert [cell.get("colspan") for cell in page.all("td")] == ["1", None, None], "no heading without a text"
    assert [cell.get("colspan") for cell in page.all("th")] == ["2", None, None, None, None]
    assert [cell.get("class") for cell in page.all("th")] == [None, "label stick", None, None, "stick"]
    assert [cell.get("data-value") for cell in page.all("td")] == [None, "58.333", None], "for the page's script"


def test_a_number_without_anything_known_cannot_be_opened():
    page = Page(table_html(table((Cell("panet"), Cell("1", 1.0), Cell("-")))))
    assert [cell.get("tabindex") for cell in page.all("td")] == [None, None, None]
    assert page.all("span") == []


def test_a_table_can_be_copied_as_latex_and_csv_unless_it_is_huge(monkeypatch: pytest.MonkeyPatch):
    small = table((Cell("a&b"), Cell("1.00", 1.0), Cell("2.00", 2.0)))
    page = Page(table_html(small))
    assert " ".join(to_latex(small).split()) in page.text
    assert " ".join(to_csv([small]).split()) in page.text
    monkeypatch.setattr(tables, "_MOST_COPIED", 1)
    page = Page(table_html(small))
    assert page.all("pre") == []
    assert "fsseg-bench report --per-class --format csv" in page.text


def test_a_number_tells_of_its_run(tmp_path: Path):
    write_run(tmp_path, fold=3, weights="file.pth", precision="bf16", seed=7)
    found = find_runs(tmp_path)
    runs = shown_runs(groups(found), found)
    ((path, run),) = runs.items()
    page = Page(table_html(table((Cell("baseline"), Cell("1", 1.0, runs=(path,)), Cell("-"))), runs))
    facts = "fold 3 : 2 episodes, digest eeeeeeee, seed 7, 100 iterations, weights file.pth, bf16"
    assert f"{facts} {path}" in page.text
    assert [a["href"] for a in page.all("a")] == [f"#{run.anchor}"]


def test_names_come_out_as_text():
    hostile = Table(
        "t", HOSTILE, HOSTILE, COLUMNS, 1, ((Cell(HOSTILE), Cell("1", note=HOSTILE, runs=(HOSTILE,)), Cell("2")),)
    )
    page = Page(table_html(hostile))
    assert {tag for tag, _ in page.tags} == {
        *("h3", "div", "table", "thead", "tbody", "tr", "th", "td", "p", "sup", "ul", "li", "span", "br"),
        *("details", "summary", "pre"),
    }
    assert shown(page).count("<script>alert('x')</script>") == 6


def test_equal_headings_under_different_ones_stay_apart():
    columns = (Column(("", "", "method")), Column(("1-shot", "mean", "a")), Column(("5-shot", "mean", "a")))
    page = Page(table_html(table((Cell("x"), Cell("1"), Cell("2")), columns=columns)))
    assert page.text.startswith("Title 1-shot 5-shot mean mean method a a")


def test_merged_labels_span_their_rows():
    columns = (Column(("backbone",), merge=True), Column(("method",), merge=True), Column(("mean",)))
    rows = [(Cell(b), Cell(m), Cell("1")) for b, m in (("r", "x"), ("r", "x"), ("r", "y"), ("s", "y"), ("s", "z"))]
    page = Page(table_html(table(*rows, columns=columns, labels=2)))
    cells = page.all("th")[3:]
    assert [cell.get("rowspan") for cell in cells] == ["3", "2", None, "2", None, None]
    assert [cell.get("class") for cell in cells] == [None, "stick", "stick", None, "stick", "stick"], "the methods"
    assert shown(page) == "Title backbone method mean r x 1 1 y 1 s y 1 z 1 Caption."


def test_labels_with_different_notes_stay_apart():
    columns = (Column(("method",), merge=True), Column(("mean",)))
    rows = [(Cell("x", note=note), Cell("1")) for note in ("", "other code")]
    page = Page(table_html(table(*rows, columns=columns)))
    assert [cell.get("rowspan") for cell in page.all("th")] == [None, None, None, None]


def step_by_step(root: Path) -> list[Table]:
    return [table for group in groups(find_runs(root)) for table in step_tables(group)]


def test_means_over_folds_by_step(tmp_path: Path):
    write_run(tmp_path, method="a", fold=1, extra={"diagnostics": {"angle": [0, 2, 3.5], "norm": 4.0}})
    write_run(tmp_path, method="a", fold=2, extra={"diagnostics": {"angle": [0, 4, 5.5]}})
    write_run(tmp_path, method="b", extra={"diagnostics": {"angle": [0, 1]}})
    (table,) = step_by_step(tmp_path)
    assert [column.head[-1] for column in table.columns] == [
        *("method", "backbone", "settings", "quantity", "0", "1", "2"),
    ]
    assert texts(table) == [
        ["a", "resnet18", "", "angle", "0.000", "3.000", "4.500"],
        ["b", "resnet18", "", "angle", "0.000", "1.000", "-"],
    ]


def test_what_is_no_list_of_numbers_or_not_in_all_folds_is_left_out(tmp_path: Path):
    odd = {"short": [1], "words": ["a", "b"], "nested": [[1], [2]], "some": [1, 2], "lengths": [1, 2]}
    write_run(tmp_path, fold=1, extra={"diagnostics": odd})
    write_run(tmp_path, fold=2, extra={"diagnostics": {"lengths": [1, 2, 3]}})
    assert step_by_step(tmp_path) == []


def test_shots_have_tables_of_their_own(tmp_path: Path):
    for shot in (1, 5):
        write_run(tmp_path, shot=shot, extra={"diagnostics": {"angle": [0, shot]}})
    assert [texts(table)[0][-1] for table in step_by_step(tmp_path)] == ["1.000", "5.000"]
