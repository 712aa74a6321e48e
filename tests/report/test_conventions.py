"""The tables of conventions: scores, differences and changed orders, from records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.conventions import conventions
from fsseg_bench.report.conventions import conventions_tables
from fsseg_bench.report.model import MISSING, Table
from fsseg_bench.report.select import select
from tests.support.runs import write_run

BETTER = (((1,), (60, 10, 0, 30)), ((2,), (60, 10, 0, 30)))  # IoU 30/40 of both classes
WORSE = (((1,), (60, 10, 10, 20)), ((2,), (60, 10, 10, 20)))  # 20/40
THIRDS = (((1,), (60, 10, 10, 10)), ((2,), (60, 10, 10, 10)))  # 10/30
NATIVE = [[0, 0, 50, 50]] * 2


def tables(root: Path, *methods: str) -> list[Table]:
    return conventions_tables(select(methods, root, {}).contenders)


def texts(table: Table, name: str) -> list[str]:
    (found,) = (line for line in table.rows if line[0].text == name)
    return [cell.text for cell in found[2:]]


def test_scores_differences_and_what_changes_the_order(tmp_path: Path) -> None:
    write_run(tmp_path, BETTER, native=NATIVE, void=[[0, 80]] * 2)  # paints all that is void
    write_run(tmp_path, WORSE, native=NATIVE, void=[[80, 0]] * 2, method="panet")
    mean, binary = tables(tmp_path, "baseline", "panet")
    assert [column.title for column in mean.columns] == ["convention", "used by", "baseline", "panet", "order"]
    assert texts(mean, "this protocol") == ["75.00", "50.00", "1, 2"]
    assert texts(mean, "other size") == ["50.00 (-25.00)", "50.00 (+0.00)", "the same"]  # equal is no order
    assert texts(mean, "void is background") == ["25.00 (-50.00)", "50.00 (+0.00)", "changes: panet over baseline"]
    assert texts(mean, "void is foreground") == ["91.67 (+16.67)", "16.67 (-33.33)", "the same"]
    assert texts(binary, "foreground alone")[0].startswith("75.00")
    assert "confusions twice" not in [line[0].text for line in binary.rows]
    assert mean.rows[2][2].value == pytest.approx(25)


def test_json_has_the_numbers_unrounded(tmp_path: Path) -> None:
    folders = [str(write_run(tmp_path, own, method=m)) for m, own in (("baseline", THIRDS), ("panet", WORSE))]
    told = CliRunner().invoke(conventions, [*folders, "--format", "json"])
    assert told.exit_code == 0, told.output
    mean, _ = json.loads(told.stdout)["tables"]
    first = mean["rows"][0]
    assert first[0]["text"] == "this protocol"
    assert [cell["value"] for cell in first[2:4]] == [pytest.approx(100 / 3, abs=1e-12), 50]


def test_records_without_void_counts_say_so(tmp_path: Path) -> None:
    write_run(tmp_path, BETTER)
    write_run(tmp_path, WORSE, void=[[80, 0]] * 2, method="panet")
    mean, _ = tables(tmp_path, "baseline", "panet")
    assert texts(mean, "void is background") == [MISSING, MISSING, MISSING]
    assert any("no number for: void is background, void is foreground" in remark for remark in mean.remarks)
    assert texts(tables(tmp_path, "panet")[0], "void is background") == ["50.00 (+0.00)", MISSING]  # no order


def test_seeds_and_folds_are_averaged(tmp_path: Path) -> None:
    for seed, fold, episodes in ((0, 1, BETTER), (1, 1, WORSE), (0, 2, WORSE), (1, 2, WORSE)):
        write_run(tmp_path, episodes, void=[[0, 0]] * 2, seed=seed, fold=fold)
    assert texts(tables(tmp_path, "baseline")[0], "this protocol")[0] == "56.25"
