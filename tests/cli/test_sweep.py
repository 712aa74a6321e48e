"""``fsseg-bench sweep``: what it refuses and says, and real cells that are killed and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fsseg_bench.errors import STOPPED
from fsseg_bench.records.info import read_info
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.plan import cell_folder, read_plan
from fsseg_bench.sweeps.spec import parse_spec
from tests.cli.test_main import call
from tests.support.fresh import ROOT
from tests.support.same_records import same_records
from tests.support.shapes_sweep import SECONDS, kill_at_episode, write_sweep


def started(*words: object) -> subprocess.Popen[str]:
    """The command in a process group of its own, as from a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "fsseg_bench", "sweep", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "methods")])},
        process_group=0,
    )


def finished(*words: object) -> tuple[int, str]:
    """Exit code and standard error."""
    with started(*words) as command:
        _, err = command.communicate(timeout=SECONDS)
    return command.returncode, err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start"], "name the sweep's TOML file, or --paper and --table"),
        (["a.toml", "--paper", "biopt"], "name the sweep's TOML file, or --paper and --table"),
        (["a.toml", "--table", "1"], "--table and --out-file belong to --paper"),
        (["--paper", "biopt"], "--paper biopt: say which of its tables"),
        (["--paper", "biopt", "--table", "99"], "99"),
        (["a.toml", "-q", "-v"], "-v and -q exclude each other"),
        (["a.toml", "--on", "slurm", "--jobs", "2"], "--jobs is for --on local"),
        (["a.toml", "--jobs", "0"], "0 is not in the range"),
        (["a.toml", "--on", "cluster"], "'cluster' is not one of"),
        (["absent.toml"], "absent.toml: cannot be read: No such file"),
        (["status", "absent"], "unknown sweep 'absent'"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("sweep", *words) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_table_of_slurm_is_said_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[common]\ndataset = "shapes5i"\n[grid]\nmethod = ["baseline"]\n[slurm]\nat_once = "x"\n'
    (tmp_path / "a.toml").write_text(text)
    assert call("sweep", "a.toml", "--on", "slurm") == 2
    err = capsys.readouterr().err
    assert "at_once" in err
    assert "planning" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]


def test_help_is_that_of_start_and_names_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", "--help") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("--keep-failed", "[FILE]", "status"))


def test_the_file_of_a_papers_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", "--paper", "biopt", "--table", "1") == 0
    text = capsys.readouterr().out
    assert call("sweep", "--paper", "biopt", "--table", "1", "--out-file", tmp_path / "t.toml") == 0
    assert (tmp_path / "t.toml").read_text() == text
    assert parse_spec(tomllib.loads(text)).name == "biopt-1"


@pytest.mark.slow
def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_sweep(tmp_path / "tiny.toml", Path("runs"))
    assert call("sweep", file, "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in out[:2]] == [
        [f"baseline-shapes5i-1shot-fold{fold}-seed0", "waiting", "fsseg-bench", "run"] for fold in (1, 2)
    ]
    assert out[2].startswith("2 cells: 2 waiting; about ")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
def test_a_killed_cell_and_a_stopped_command_leave_the_records_of_an_undisturbed_sweep(tmp_path: Path) -> None:
    """A cell gets SIGKILL, then the command SIGINT, then another one SIGTERM; the third finds nothing lost."""
    code, err = finished(write_sweep(tmp_path / "whole.toml", tmp_path / "whole"))
    assert code == 0, err
    assert "2 cells: 2 done" in err
    file, out = write_sweep(tmp_path / "tiny.toml", tmp_path / "runs"), tmp_path / "runs"

    with started(file, "--jobs", "2") as command:
        killed = kill_at_episode(out)
        kill_at_episode(out, 20)  # the other one, or the same again
        _, err = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, err
    assert "was ended by SIGKILL after " in err
    assert "goes on at step " in err
    assert read_info(killed / "run.json").resumed
    assert same_records(tmp_path / "whole", out) == 2
    plan = read_plan(out / "sweeps" / "tiny")
    codes = [[a.code for a in read_attempts(cell_folder(out / "sweeps" / "tiny", cell))] for cell in plan.cells]
    assert sum(ones.count(-signal.SIGKILL) for ones in codes) == 2
    assert all(ones[-1] == 0 for ones in codes)


@pytest.mark.slow
def test_a_stopped_command_goes_on(tmp_path: Path) -> None:
    file, out = write_sweep(tmp_path / "tiny.toml", tmp_path / "runs", "1"), tmp_path / "runs"
    with started(file) as command:
        folder = kill_at_episode(out, 2, number=0)  # it only waits for the second episode
        os.killpg(command.pid, signal.SIGINT)
        _, err = command.communicate(timeout=SECONDS)
    assert command.returncode == STOPPED, err
    assert "1 cell: 1 stopped" in err
    assert "stopped; the same command goes on from here" in err
    assert "Traceback" not in err
    assert read_info(folder / "run.json").status == "evaluating"
    code, err = finished(file)
    assert code == 0, err
    assert "goes on at step " in err
    assert finished(file)[1].splitlines()[:1] == ["1 cell: 1 done"]
    with started("status", file, "--json") as status:
        assert json.loads(status.communicate()[0])["counts"]["done"] == 1
