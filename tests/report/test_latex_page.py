"""What a page of LaTeX holds: checked against LaTeX itself where it is installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.latex_page import WIDTH, on_pages, width_of
from fsseg_bench.report.model import MISSING, Cell, Column, Table
from tests.report.test_captions import tables
from tests.support.latex import compiled


def wide(
    methods: Sequence[str], shots: Sequence[int] = (1, 5), folds: int = 4, backbones: Sequence[str] = ("r50",)
) -> Table:
    columns = [Column(("", "backbone"), merge=True), Column(("", "method"))]
    for shot in shots:
        columns += [Column((f"{shot}-shot", f"fold {fold}")) for fold in range(1, folds + 1)]
    number = Cell("55.55 ± 1.23", 55.55)
    rows = [(Cell(b), Cell(m), *[number] * (len(columns) - 2)) for b in backbones for m in methods]
    return Table("t", "Title", "Caption.", tuple(columns), 2, tuple(rows), remarks=("A remark.",))


def titles(table: Table) -> list[str]:
    return [part.title for part, _ in on_pages(table)]


def test_a_table_that_fits_is_one_and_small():
    ((part, setting),) = on_pages(wide(["a", "b"], folds=2, backbones=("r50", "r101")))
    assert (part.title, setting.size) == ("Title", r"\small")


def test_a_common_label_goes_into_the_title_before_type_gets_smaller():
    ((part, setting),) = on_pages(wide(["a", "b"], folds=3))
    assert (part.title, setting.size, part.labels) == ("Title, backbone r50", r"\small", 1)
    ((_, smaller),) = on_pages(wide(["a longer name", "b"], shots=(1,), folds=6))
    assert smaller.size == r"\footnotesize"


def test_then_it_is_parted_by_shot_and_the_heading_of_the_shot_is_said_once():
    parts = on_pages(wide(["a", "b"], folds=5))
    assert [part.title for part, _ in parts] == ["Title, backbone r50, 1-shot", "Title, backbone r50, 5-shot"]
    assert [part.columns[1].head for part, _ in parts] == [("fold 1",)] * 2
    assert [part.name for part, _ in parts] == ["t-1-shot", "t-5-shot"]


def test_then_by_columns_and_every_number_is_in_one_part():
    whole = wide(["a", "b"], shots=(1,), folds=10)
    parts = on_pages(whole)
    assert [part.title for part, _ in parts] == [f"Title, backbone r50 ({i} of 2)" for i in (1, 2)]
    heads = [column.head[-1] for part, _ in parts for column in part.columns[part.labels :]]
    assert heads == [f"fold {i}" for i in range(1, 11)]
    assert all(width_of(part, setting) <= WIDTH for part, setting in parts)


def test_rows_that_are_too_many_go_on_in_another_part_at_a_new_backbone():
    whole = wide([f"m{i}" for i in range(20)], shots=(1,), folds=1, backbones=("a", "b", "c"))
    parts = [part for part, _ in on_pages(whole)]
    assert [{row[0].text for row in part.rows} for part in parts] == [{"a"}, {"b"}, {"c"}]
    assert [(part.title, part.name) for part in parts] == [(f"Title ({i} of 3)", f"t-{i}") for i in (1, 2, 3)]
    long = [part for part, _ in on_pages(wide([f"m{i}" for i in range(60)], shots=(1,), folds=1))]
    assert sum(len(part.rows) for part in long) == 60
    assert len(long) == 2


def test_a_table_too_wide_for_its_labels_is_parted_by_protocol_without_empty_columns():
    texts = [f"label {i} " + "with words that are long " * 3 for i in range(3)]
    columns = [Column(("", "protocol"), merge=True), *(Column(("", f"l{i}")) for i in range(3))]
    columns += [Column(("1-shot", f"fold {i}")) for i in range(1, 9)]
    rows = []
    for protocol, known in (("coco", range(2)), ("lvis", range(3))):
        for variant in "ab":
            numbers = [Cell("55.55", 55.55) if i in known else Cell(MISSING) for i in range(8)]
            rows.append((Cell(protocol), *(Cell(f"{variant}{text}") for text in texts), *numbers))
    parts = on_pages(Table("t", "Title", "", tuple(columns), 4, tuple(rows)))
    assert [(part.title, [c.title for c in part.columns[part.labels :]]) for part, _ in parts] == [
        ("Title, coco", ["1-shot fold 1", "1-shot fold 2"]),
        ("Title, lvis", ["1-shot fold 1", "1-shot fold 2", "1-shot fold 3"]),
    ]


def test_notes_stand_once_and_later_parts_point_at_them():
    text = to_latex(wide(["a", "b"], folds=5))
    assert text.count("A remark.") == 1
    assert text.count(r"The notes of Table~\ref{tab:t-1-shot} hold here, too.") == 1
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == text.count(r"\caption{") == 2
    assert "resizebox" not in text


def test_wide_tables_span_the_columns_of_a_paper():
    assert to_latex(wide(["a"], shots=(1,), folds=2)).count(r"\begin{table}") == 1
    assert to_latex(wide(["a"], shots=(1,), folds=5)).count(r"\begin{table*}") == 1


@pytest.mark.slow
def test_latex_finds_nothing_too_wide_or_too_high(tmp_path: Path):
    made = [*tables(tmp_path / "runs"), wide([f"method {i}" for i in range(60)], folds=9, backbones=("VGG-16", "R"))]
    output = compiled(tmp_path, list(map(to_latex, made)))
    assert not re.findall(r"Overfull.*|.*too large.*", output)
