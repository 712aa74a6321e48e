import math
from dataclasses import replace

import pandas as pd
import pytest

from fsseg_bench.report.model import Cell, Column, Table, arranged, printable
from tests.support.readers import texts


def table(*rows: tuple[Cell, ...]) -> Table:
    columns = (Column(("", "method")), Column(("1-shot", "fold 1"), {"fold": 1}), Column(("1-shot", "mean")))
    return Table("t", "Title", "Caption", columns, 1, rows)


def test_headings_have_one_depth():
    with pytest.raises(ValueError, match="headings of different depth"):
        Table("t", "T", "C", (Column(("a",)), Column(("", "b"))), 1, ())


def test_ranked_says_whether_any_number_is():
    assert not table((Cell("a"), Cell("1", 1.0), Cell("2", 2.0))).ranked
    assert table((Cell("a"), Cell("1", 1.0), Cell("2", 2.0, rank=2))).ranked


def test_column_title_skips_empty_headings():
    assert Column(("", "method")).title == "method"
    assert Column(("1-shot", "mean")).title == "1-shot mean"


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row has 1 cells, not 3"):
        table((Cell("a"),))


def test_footnotes_are_marked_in_reading_order_and_shared():
    notes = table(
        (Cell("a"), Cell("-", note="second"), Cell("-", note="first")),
        (Cell("b"), Cell("-", note="first"), Cell("1")),
    ).footnotes
    assert notes == {"second": "a", "first": "b"}


def test_more_notes_than_letters():
    rows = [(Cell("r"), Cell("-", note=f"note {i}"), Cell("-")) for i in range(28)]
    assert list(table(*rows).footnotes.values())[24:] == ["y", "z", "aa", "ab"]


def test_frame_has_the_table_s_shape():
    frame = table((Cell("a"), Cell("1.00", 1.0), Cell("-")), (Cell("b"), Cell("2.00", 2.0), Cell("3.00", 3.0))).frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.names == ["method"]
    assert frame.columns.tolist() == [("1-shot", "fold 1"), ("1-shot", "mean")]
    assert frame.loc["b", ("1-shot", "mean")].item() == 3.0
    assert math.isnan(frame.loc["a", ("1-shot", "mean")].item())


def test_frame_of_a_table_without_numbers_holds_its_texts():
    labels = Table("t", "T", "C", (Column(("method",)), Column(("status",))), 2, ((Cell("a"), Cell("failed")),))
    assert labels.frame().to_dict("records") == [{"method": "a", "status": "failed"}]


def test_printable_leaves_no_control_characters():
    assert printable("a\nb\tc\x1b[31md\u202ee ü†") == "a b c\ufffd[31md\ufffde ü†"


def wide(*rows: tuple[str, ...], kinds: tuple[str, ...] = ("published", "measured", "difference")) -> Table:
    """Labels backbone, method, settings; then one group of columns for each fold."""
    labels = tuple(Column(("", "", name), merge=name == "backbone") for name in ("backbone", "method", "settings"))
    folds = (len(rows[0]) - 3) // len(kinds)
    numbers = tuple(
        Column(("1-shot", f"fold {f}", kind), {"fold": f, "number": kind}) for f in range(folds) for kind in kinds
    )
    cells = tuple(
        (*map(Cell, row[:3]), *(Cell(t, float(t) if t[-1].isdigit() else None) for t in row[3:])) for row in rows
    )
    return Table("t", "T", "C", (*labels, *numbers), 3, cells)


MEASURED = ("R50", "a", "bf16", "1.0", "3.0", "2.0", "5.0", "missing", "-")
AGAIN = ("R50", "a", "fp32", "1.0", "4.0", "3.0", "5.0", "6.0", "1.0")
WAITING = ("R50", "b", "", "1.0", "missing", "-", "5.0", "missing", "-")
UNLISTED = ("R50", "c", "", "-", "3.0", "-", "-", "4.0", "-")
NOBODYS = ("R50", "d", "", "1.0", "-", "-", "2.0", "-", "-")


def test_lines_of_each_row() -> None:
    table = arranged(wide(MEASURED, AGAIN, WAITING, UNLISTED, NOBODYS), "lines")
    assert [c.head for c in table.columns] == [
        ("", "backbone"), ("", "method"), ("", "number"), ("", "settings"), ("1-shot", "fold 0"), ("1-shot", "fold 1"),
    ]  # fmt: skip
    assert table.labels == 4
    assert [c.facts for c in table.columns[4:]] == [{"fold": 0}, {"fold": 1}]
    assert [c.merge for c in table.columns] == [True, False, False, False, False, False]
    assert texts(table) == [
        ["R50", "a", "published", "", "1.0", "5.0"],
        ["R50", "a", "measured", "bf16", "3.0", "missing"],
        ["R50", "a", "difference", "bf16", "2.0", "-"],
        ["R50", "a", "measured", "fp32", "4.0", "6.0"],
        ["R50", "a", "difference", "fp32", "3.0", "1.0"],
        ["R50", "b", "published", "", "1.0", "5.0"],
        ["R50", "c", "measured", "", "3.0", "4.0"],
        ["R50", "d", "published", "", "1.0", "2.0"],
    ]


def test_a_kind_of_number_that_nothing_is_known_of_is_left_out_and_named() -> None:
    table = arranged(wide(WAITING, NOBODYS), "auto")
    assert texts(table) == [["R50", "b", "", "1.0", "5.0"], ["R50", "d", "", "1.0", "2.0"]]
    assert (table.title, table.remarks) == (
        "T, published",
        ("Left out, since there are none: measured and difference.",),
    )
    partly = arranged(wide(UNLISTED), "auto")
    assert [c.head[-1] for c in partly.columns[3:]] == ["fold 0", "fold 1"]
    assert partly.title == "T, measured"
    runs = replace(wide(WAITING).rows[0][4], runs=("x",), note="1 of 4 folds")
    kept = replace(wide(WAITING), rows=((*wide(WAITING).rows[0][:4], runs, *wide(WAITING).rows[0][5:]),))
    assert len(arranged(kept, "auto").columns) == 7, "a run that makes no number yet is known all the same"


def test_auto_takes_lines_for_wide_tables_only() -> None:
    narrow = wide(MEASURED)
    assert arranged(narrow, "auto") is narrow
    five = wide(("R50", "a", "", *(["1.0"] * 15)))
    assert arranged(five, "auto").labels == 4
    assert arranged(five, "columns") is five


def test_one_kind_of_number_goes_into_the_title() -> None:
    table = arranged(wide(("R50", "a", "", "1.0", "2.0"), kinds=("published",)), "lines")
    assert table.title == "T, published"
    assert [c.head for c in table.columns[2:]] == [("", "settings"), ("1-shot", "fold 0"), ("1-shot", "fold 1")]
    assert texts(table) == [["R50", "a", "", "1.0", "2.0"]]


def test_other_tables_stay() -> None:
    plain = Table("t", "T", "C", (Column(("a",)),), 1, ((Cell("x"),),))
    assert arranged(plain, "lines") is plain
