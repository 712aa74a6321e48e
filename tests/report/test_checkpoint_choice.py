"""What choosing a checkpoint on test is worth, by hand from counts that were made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.conventions import conventions_tables
from fsseg_bench.report.model import MISSING, Table
from fsseg_bench.report.select import select
from tests.support.runs import write_kept, write_run

EPISODES = [(1,), (2,)]


def of(iou: int) -> tuple[int, int, int, int]:
    """Counts of an episode whose foreground of 40 pixels is hit in ``iou`` percent, without false alarms."""
    return (60, 0, 40 - iou * 40 // 100, iou * 40 // 100)


def trained(root: Path, own: int, *kept: int, **changes: object) -> Path:
    """A run with the mean-IoU ``own`` whose kept states have the others."""
    folder = write_run(root, [(c, of(own)) for c in EPISODES], **changes)
    write_kept(folder, {100 * (i + 1): [of(score)] * 2 for i, score in enumerate(kept)})
    return folder


def tables(root: Path, *methods: str) -> list[Table]:
    return conventions_tables(select(methods, root, {}).contenders, checkpoints=True)


def texts(table: Table, name: str) -> list[str]:
    (found,) = (line for line in table.rows if line[0].text == name)
    return [cell.text for cell in found[table.labels :]]


def test_best_of_n_by_hand(tmp_path: Path) -> None:
    """Fold 1 keeps 40, 60, 50, fold 2 80, 20, 70: each fold's best is its own."""
    trained(tmp_path, 50, 40, 60, 50)
    trained(tmp_path, 70, 80, 20, 70, fold=2)
    mean, binary, choice = tables(tmp_path, "baseline")
    assert texts(mean, "this protocol")[0] == "60.00"
    assert texts(mean, "best of 3 checkpoints on test") == ["70.00 (+10.00)", MISSING]
    rows = {row[0].text: row[1].text for row in choice.rows}
    assert rows == {
        "this protocol": "60.00",
        "lowest kept": "30.00 (-30.00)",  # 40 and 20
        "median kept": "60.00 (+0.00)",  # 50 and 70
        "best of 1": "53.33 (-6.67)",  # 50 and 170 / 3
        "best of 2": "66.67 (+6.67)",  # 170 / 3 and 230 / 3
        "best of 3": "70.00 (+10.00)",
    }
    assert all(table.remarks[0].startswith("CHOSEN ON HELD-OUT CLASSES") for table in (mean, choice))
    assert not any("best of" in row[0].text for row in binary.rows)


def test_it_may_change_the_order_and_some_keep_nothing(tmp_path: Path) -> None:
    trained(tmp_path, 50, 40, 90, 30)
    trained(tmp_path, 60, 60, 65, method="panet")
    trained(tmp_path, 70, method="biopt")
    mean, _, choice = tables(tmp_path, "baseline", "panet", "biopt")
    assert texts(mean, "best of 2 to 3 checkpoints on test") == [
        "90.00 (+40.00)",
        "65.00 (+5.00)",
        MISSING,
        "changes: baseline over panet",
    ]
    assert texts(choice, "best of 3") == ["90.00 (+40.00)", MISSING, MISSING]
    assert texts(choice, "best of all kept") == ["90.00 (+40.00)", "65.00 (+5.00)", MISSING]
    assert "no number for: biopt." in choice.remarks[-1]
    assert "baseline: 3 a run; panet: 2 a run." in choice.remarks[1]


def test_without_checkpoints_nothing_of_them_is_said(tmp_path: Path) -> None:
    trained(tmp_path, 50, 40, 60)
    contenders = select(["baseline"], tmp_path, {}).contenders
    told = repr(conventions_tables(contenders))
    assert "checkpoints on test" not in told
    assert "CHOSEN" not in told
    trained(tmp_path, 50, method="panet")
    with pytest.raises(UserError, match="run --keep-checkpoints N"):
        tables(tmp_path, "panet")


@pytest.mark.parametrize(
    ("states", "told"),
    [({100: [(60, 0, 20, 20), (61, 0, 20, 20)]}, "does not count the labels"), ({100: [of(50)] * 3}, "not numbered")],
)
def test_counts_of_something_else_are_refused(
    tmp_path: Path, states: dict[int, list[tuple[int, ...]]], told: str
) -> None:
    write_kept(trained(tmp_path, 50), states)
    with pytest.raises(UserError, match=told):
        tables(tmp_path, "baseline")


def test_counts_of_another_run_or_step_are_refused(tmp_path: Path) -> None:
    folder = trained(tmp_path, 50, 40)
    (folder / "kept" / "step-000100.jsonl").rename(folder / "kept" / "step-000200.jsonl")
    with pytest.raises(UserError, match=r"step-000200.jsonl: belongs to another run or another state"):
        tables(tmp_path, "baseline")
    other = trained(tmp_path / "other", 50, 40, seed=1)
    (other / "kept" / "step-000100.jsonl").rename(folder / "kept" / "step-000200.jsonl")
    with pytest.raises(UserError, match=r"step-000200.jsonl: line 1: its check does not fit"):
        tables(tmp_path, "baseline")
