"""What was given to Slurm, without a Slurm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.errors import LaterError, UserError
from fsseg_bench.sweeps import on_slurm
from fsseg_bench.sweeps.on_slurm import queued, submit, wait
from fsseg_bench.sweeps.plan import read_plan
from fsseg_bench.sweeps.submissions import SUBMISSIONS_FILE, Submission, note, read_submissions
from tests.support.sweeps import cell, planned

FIRST = Submission("t-1", ("a", "b"), "2026-01-01T00:00:00.000+00:00")
SECOND = Submission("t-2", ("c",), "2026-01-01T00:00:00.000+00:00")


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    assert read_submissions(tmp_path) == []
    for one in (FIRST, SECOND, replace(FIRST, job="12")):
        note(tmp_path, one)
    assert read_submissions(tmp_path) == [replace(FIRST, job="12"), SECOND]


def test_a_line_that_a_kill_cut_off_harms_no_other(tmp_path: Path) -> None:
    note(tmp_path, FIRST)
    with (tmp_path / SUBMISSIONS_FILE).open("a") as file:
        file.write('{"name": "t-1", "jo')
    note(tmp_path, SECOND)
    assert read_submissions(tmp_path) == [FIRST, SECOND]


def test_slurm_that_is_absent_or_silent_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "a")])
    plan = read_plan(folder)
    assert queued(folder) == {}  # nothing was submitted: nobody is asked
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError, match="no Slurm on this machine: sbatch is not found"):
        submit(folder, plan, plan.cells)
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue"):
        command = tmp_path / "bin" / name
        command.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
        command.chmod(0o755)
    note(folder, FIRST)
    monkeypatch.setattr(on_slurm, "_ANSWER", 0.2)
    with pytest.raises(LaterError, match=r"squeue was silent for 0\.2 seconds"):
        queued(folder)
    with pytest.raises(LaterError, match="silent"):
        submit(folder, plan, plan.cells)
    said: list[str] = []

    def stopped(words: str) -> None:
        said.append(words)
        if len(said) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # and not that Slurm is silent, which is the less
        wait(folder, plan, say=stopped)
    assert "it is asked again" in said[0]
    assert "the jobs go on without this command" in said[1]
