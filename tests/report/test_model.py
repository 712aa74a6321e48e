import math

import pandas as pd
import pytest

from fsseg_bench.report.model import Cell, Column, Table, printable


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
