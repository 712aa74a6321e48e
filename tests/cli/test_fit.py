from __future__ import annotations

from collections.abc import Sequence

import pytest

from fsseg_bench.cli.fit import fitted, headings
from fsseg_bench.report.model import MISSING, Cell, Column, Table


def number(value: float | None, note: str = "") -> Cell:
    return Cell(MISSING) if value is None else Cell(f"{value:.2f} ± 1.00", value, note=note)


def table(
    rows: Sequence[Sequence[float | None]],
    *,
    shots: Sequence[int] = (1,),
    folds: int = 4,
    backbones: Sequence[str] = ("resnet18-layer2",) * 2,
) -> Table:
    columns = [Column(("", "method")), Column(("", "backbone"))]
    for shot in shots:
        columns += [Column((f"{shot}-shot", f"fold {f}"), {"shot": shot, "fold": f}) for f in range(1, folds + 1)]
        columns.append(Column((f"{shot}-shot", "mean"), {"shot": shot, "fold": "mean"}))
    body = [(Cell(f"m{i}"), Cell(backbones[i]), *map(number, row)) for i, row in enumerate(rows)]
    return Table("t", "title", "", tuple(columns), 2, tuple(body))


def heads(made: Table) -> list[str]:
    return [column.title for column in made.columns]


FULL = table([[1, 2, 3, 4, 2.5], [2, 3, 4, 5, 3.5]])


def test_a_table_that_fits_is_left_alone():
    assert fitted(FULL, 120) == ([FULL], [])


def test_a_label_that_all_rows_share_goes_first():
    (made,), said = fitted(FULL, 80)
    assert heads(made) == ["method", *(f"1-shot fold {i}" for i in range(1, 5)), "1-shot mean"]
    assert (made.title, said) == ("title, backbone resnet18-layer2", [])


def test_a_shared_label_that_says_its_heading_is_not_headed_again():
    columns = (Column(("folds",)), Column(("metric",)), Column(("difference",)))
    rows = tuple((Cell("fold 1"), Cell(name), number(1)) for name in ("mean-IoU", "binary-IoU"))
    (made,), _ = fitted(Table("t", "title", "", columns, 2, rows), 25)
    assert made.title == "title, fold 1"


def test_then_folds_go_and_are_named():
    (made,), (said,) = fitted(FULL, 60)
    assert heads(made) == ["method", "1-shot mean"]
    assert said.startswith("Not shown for want of space: 4 columns of single folds.")


def test_folds_stay_where_they_are_all_there_is():
    (made,), (said,) = fitted(table([[1, None, 3, None, None], [2, None, None, None, None]]), 50)
    assert heads(made) == ["method", "1-shot fold 1", "1-shot fold 3", "1-shot mean"]
    assert "2 columns of single folds." in said


def test_shots_are_parted_and_then_numbers():
    wide = table([[1, 1, 2, 2], [3, 3, 4, 4]], shots=(1, 5), folds=1, backbones=("a", "b"))
    parts, _ = fitted(wide, 46)
    assert [heads(part)[2:] for part in parts] == [["1-shot mean", "5-shot mean"]]
    parts, _ = fitted(wide, 30)
    assert [heads(part)[2:] for part in parts] == [["1-shot mean"], ["5-shot mean"]]
    bare = table([[1, None], [None, 2]], folds=1, backbones=("a", "b"))
    parts, said = fitted(bare, 30)
    assert ([heads(part)[2:] for part in parts], said) == ([["1-shot fold 1"], ["1-shot mean"]], [])


@pytest.mark.parametrize(("width", "left"), [(25, ["name", "a", "b"]), (18, ["name", "a"]), (11, ["name", "a"])])
def test_columns_that_can_be_spared_go_in_their_order(width: int, left: list[str]):
    spare = {"name": 0, "a": 0, "b": 1, "c": 2}
    columns = tuple(Column((head,), spare=rank) for head, rank in spare.items())
    row = (Cell("x" * 5), *(Cell("12345", 1.0) for _ in range(3)))
    made, said = fitted(Table("t", "", "", columns, 1, (row, row)), width)
    assert heads(made[0]) == left
    assert len(said) == 1


def test_headings_are_said_once_and_empty_levels_not_at_all():
    assert [headings(FULL, i) for i in range(5)] == [
        ["", "method"],
        ["", "backbone"],
        ["1-shot", "fold 1"],
        ["", "fold 2"],
        ["", "fold 3"],
    ]
    flat = Table("t", "", "", (Column(("", "a")), Column(("", "b"))), 1, ())
    assert [headings(flat, i) for i in range(2)] == [["a"], ["b"]]


def test_a_wide_terminal_shows_all_folds_of_one_shot_after_the_other():
    wide = table([[1.0] * 10, [2.0] * 10], shots=(1, 5), backbones=("a", "b"))
    parts, said = fitted(wide, 100)
    assert [part.title for part in parts] == ["title, 1-shot", "title, 5-shot"]
    assert [heads(part) for part in parts] == [["method", "backbone", *(f"fold {i}" for i in range(1, 5)), "mean"]] * 2
    assert said == []
    (narrow,), _ = fitted(wide, 99)
    assert heads(narrow) == ["method", "backbone", "1-shot mean", "5-shot mean"]
