from __future__ import annotations

from pathlib import Path

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.unfinished import unfinished_table
from tests.support.readers import texts
from tests.support.runs import write_run


def test_listed_with_status_and_reason(tmp_path: Path):
    write_run(tmp_path)
    write_run(tmp_path, fold=2, status="failed", extra={"reason": "the loss\nis not finite"})
    write_run(tmp_path, fold=3, status="training")
    table = unfinished_table(find_runs(tmp_path))
    assert table is not None
    assert [row[7] for row in texts(table)] == ["failed: the loss is not finite", "training"]
    assert texts(table)[0][:7] == ["toy", "baseline", "resnet18", "1", "1", "2", "0"]
    assert (tmp_path / texts(table)[1][8] / "run.json").exists()


def test_none_when_all_are_done(tmp_path: Path):
    write_run(tmp_path)
    assert unfinished_table(find_runs(tmp_path)) is None
