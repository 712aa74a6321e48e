from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.model import Table
from fsseg_bench.report.table import class_tables
from tests.support.paper import paper_run
from tests.support.runs import NATIVE, SPREAD, write_run


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_a_row_a_class_and_a_column_a_method(tmp_path: Path) -> None:
    folder = write_run(tmp_path, SPREAD, native=NATIVE)
    write_run(tmp_path, method="panet")
    write_run(tmp_path, [((3,), (9, 0, 0, 1)), ((4,), (9, 0, 1, 0))], method="panet", fold=2, novel=[3, 4])
    (table,) = class_tables(find_runs(tmp_path))
    assert [c.head for c in table.columns] == [
        ("", "fold"), ("", "class"), ("resnet18", "baseline"), ("resnet18", "panet"),
    ]  # fmt: skip
    assert texts(table) == [
        ["fold 1", "cat", "50.00 ± 25.00", "50.00"],
        ["fold 1", "dog", "80.00", "66.67"],
        ["fold 2", "3", "-", "100.00"],
        ["fold 2", "4", "-", "0.00"],
    ]
    cat = table.rows[0][2]
    assert (cat.value, cat.low, cat.high) == pytest.approx((50, 25, 75))
    assert [tmp_path / run for run in cat.runs] == [folder]


def test_native_size_shots_and_protocols(tmp_path: Path) -> None:
    write_run(tmp_path, SPREAD, native=NATIVE)
    write_run(tmp_path, shot=5)
    paper_run(tmp_path)
    found = find_runs(tmp_path)
    assert [t.title for t in class_tables(found)] == [
        "pascal5i: IoU of each class, 1-way 1-shot",
        "toy: IoU of each class, 1-way 1-shot",
        "toy: IoU of each class, 1-way 5-shot",
    ]
    (native,) = [t for t in class_tables(found, "native", ["toy"]) if "1-shot" in t.title]
    assert [row[2] for row in texts(native)] == ["50.00", "100.00"]
    assert [row[1] for row in texts(class_tables(found, None, ["pascal5i"])[0])][:2] == ["aeroplane", "bicycle"]


def test_rows_that_need_telling_apart_say_why(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path, seed=1)
    (table,) = class_tables(find_runs(tmp_path))
    assert [c.head[1] for c in table.columns[2:]] == ["baseline; seed=0", "baseline; seed=1"]
