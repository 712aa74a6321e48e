"""The runs that conditions choose from a collection, and how many they leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.filters import chosen
from tests.support.runs import write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for fold in (1, 2):
        write_run(tmp_path, fold=fold)
        write_run(tmp_path, fold=fold, method="panet", shot=5)
    write_run(tmp_path, method="biopt", switches={"steps": 5}, status="training")
    return tmp_path


def names(root: Path, *methods: str, **where: str) -> tuple[list[str], list[str], int]:
    found = chosen(find_runs(root), methods, where)
    of_done = [f"{run.record.settings.method} {run.record.fold}" for run in found.done]
    return of_done, [run.settings.method for run in found.unfinished], found.left_out


def test_conditions_are_fulfilled_together(root: Path) -> None:
    assert names(root) == (["baseline 1", "baseline 2", "panet 1", "panet 2"], ["biopt"], 0)
    assert names(root, "panet", "biopt", "panet") == (["panet 1", "panet 2"], ["biopt"], 2)
    assert names(root, "panet", "baseline", fold="2", dataset="toy") == (["baseline 2", "panet 2"], [], 3)
    assert names(root, shot="5") == (["panet 1", "panet 2"], [], 3)
    assert names(root, steps="5") == ([], ["biopt"], 4)
    assert names(root, merge="null", shot="5") == (["panet 1", "panet 2"], [], 3)  # none of them has it set


def test_what_no_run_has_is_said(root: Path) -> None:
    with pytest.raises(UserError, match=rf"^{root}: unknown method among the runs 'panett'. Did you mean 'panet'"):
        names(root, "panett")
    with pytest.raises(UserError, match=rf"^{root}: no run has shot=3; there is 1, 5$"):
        names(root, shot="3")
    with pytest.raises(UserError, match=r"no run has shot=5; there is 1$"):
        names(root, "baseline", shot="5")
    with pytest.raises(UserError, match=r"no run has merge=softmax; there is null$"):
        names(root, merge="softmax")
    with pytest.raises(UserError, match=rf"^{root}: unknown setting 'shots'. Did you mean 'shot'"):
        names(root, shots="5")


def test_nothing_is_asked_of_an_empty_folder(tmp_path: Path) -> None:
    assert names(tmp_path, "panet", shot="3") == ([], [], 0)
