"""``run --jobs``: what is said before and meanwhile, and how a command with processes of its own ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsseg_bench.engine import slots
from fsseg_bench.storage.holder import holder
from tests.cli.test_main import TINY, call, data
from tests.machine.test_pool import ended
from tests.support.fresh import ROOT
from tests.support.options import changed

__all__ = ["data"]  # a fixture

SECONDS = 600.0
pytestmark = pytest.mark.usefixtures("forked_processes")
LONG = ("--iterations", "100000", "--set", "recipe.batch=2")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 2)


def asked(data: Path, *more: object) -> tuple[object, ...]:
    return ("run", *changed(("--method", "baseline", "--dataset", data / "tiny.toml", *TINY), *more))


def test_what_is_said_beforehand(data: Path, two_cores: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*asked(data, "--dry-run", "--jobs", "auto")) == 0
    assert "\n2 runs at a time, 1 thread each\n" in capsys.readouterr().out
    assert call(*asked(data, "--dry-run", "--jobs", "3", "--threads", "2", "--json")) == 0
    assert "3 runs at a time, 2 threads each" in json.loads(capsys.readouterr().out)["notes"]
    assert call(*asked(data, "--dry-run")) == 0
    assert "at a time" not in capsys.readouterr().out
    assert call(*asked(data, "--jobs", "several")) == 2
    assert "--jobs several: use auto, or how many runs to make at a time" in capsys.readouterr().err
    assert not (data / "here" / "results").exists()


def test_a_file_of_options_may_say_it(data: Path, two_cores: None, capsys: pytest.CaptureFixture[str]) -> None:
    for text, count in (('"auto"', 2), ("3", 3)):
        (data / "options.toml").write_text(f"jobs = {text}\n")
        assert call(*asked(data, "--dry-run", "--config", data / "options.toml")) == 0
        assert f"{count} runs at a time" in capsys.readouterr().out


@pytest.mark.slow
def test_the_estimate_is_of_runs_side_by_side(data: Path, two_cores: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*asked(data, "--episodes", "100", "--dry-run", "--jobs", "2", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    seconds = [run["seconds"] for run in found["runs"]]
    assert found["estimate"]["jobs"] == 2
    assert found["estimate"]["seconds"] == pytest.approx(sum(seconds) / 2)  # four runs of one kind
    assert call(*asked(data, "--episodes", "100", "--dry-run", "--jobs", "2")) == 0
    assert "2 runs at a time are taken to be as fast as one alone" in capsys.readouterr().out


@pytest.mark.slow
def test_the_table_and_lines_of_whole_runs(data: Path) -> None:
    with process(data, "--jobs", "2", "--fold", "1,2") as done:
        out, err = done.communicate(timeout=SECONDS)
        assert done.returncode == 0, err
    assert out.startswith("### tiny-voc: mean-IoU")
    assert out.count("record: results/runs/tiny-voc/") == 2
    lines = err.splitlines()
    assert "2 runs at a time, 1 thread each" in lines
    assert sum(line.startswith("baseline fold 1: mean IoU ") for line in lines) == 1
    assert any(line.startswith("baseline fold 2, evaluate 12/12") and " of 2 runs done" in line for line in lines)


@contextmanager
def process(data: Path, *more: object) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, as from a terminal."""
    command = subprocess.Popen(
        [sys.executable, "-m", "fsseg_bench", *map(str, asked(data, "--no-estimate", *more))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "methods")]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        yield command
    finally:
        command.kill()
        command.communicate(timeout=SECONDS)


def training(data: Path, count: int, but: Collection[int] = ()) -> set[int]:
    """The processes that train, as soon as there are so many beside those ``but`` for."""
    limit = time.monotonic() + SECONDS
    pids: set[int] = set()
    while len(pids) < count:
        assert time.monotonic() < limit, "no training began"
        time.sleep(0.05)
        begun = [path.parent for path in data.rglob("train.jsonl") if path.stat().st_size]
        pids = {found.process for folder in begun if (found := holder(folder))} - {*but}
    return pids


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes")
@pytest.mark.parametrize(
    ("number", "whole_group", "code"),
    [
        (signal.SIGINT, True, 130),  # Ctrl-C, which a terminal sends to all processes
        (signal.SIGTERM, False, 143),
        (signal.SIGKILL, False, -signal.SIGKILL),
    ],
)
def test_an_end_ends_all_and_the_same_command_goes_on(
    data: Path, number: signal.Signals, whole_group: bool, code: int
) -> None:
    with process(data, "--jobs", "2", "--fold", "1,2", *LONG) as command:
        pids = training(data, 2)
        assert command.pid not in pids
        (os.killpg if whole_group else os.kill)(command.pid, number)
        _, err = command.communicate(timeout=SECONDS)
        assert command.returncode == code, err
        assert "Traceback" not in err
        assert ("stopped; the same command goes on from here" in err) == (code > 0)
        # after SIGKILL nobody waited for them
        assert all(ended(pid, SECONDS if number == signal.SIGKILL else 0.0) for pid in pids)
    with process(data, "--jobs", "2", "--fold", "1,2", *LONG) as again:
        training(data, 2, but=pids)
        os.kill(again.pid, signal.SIGINT)
        _, err = again.communicate(timeout=SECONDS)
        assert again.returncode == 130
        assert "another process" not in err
