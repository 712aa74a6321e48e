from pathlib import Path

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html.runs import groups, step_tables
from fsseg_bench.report.model import Table
from tests.support.runs import write_run


def tables(root: Path) -> list[Table]:
    return [table for group in groups(find_runs(root)) for table in step_tables(group)]


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_means_over_folds_by_step(tmp_path: Path):
    write_run(tmp_path, method="a", fold=1, extra={"diagnostics": {"angle": [0, 2, 3.5], "norm": 4.0}})
    write_run(tmp_path, method="a", fold=2, extra={"diagnostics": {"angle": [0, 4, 5.5]}})
    write_run(tmp_path, method="b", extra={"diagnostics": {"angle": [0, 1]}})
    (table,) = tables(tmp_path)
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
    assert tables(tmp_path) == []


def test_shots_have_tables_of_their_own(tmp_path: Path):
    for shot in (1, 5):
        write_run(tmp_path, shot=shot, extra={"diagnostics": {"angle": [0, shot]}})
    assert [texts(table)[0][-1] for table in tables(tmp_path)] == ["1.000", "5.000"]
