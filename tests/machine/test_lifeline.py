"""Processes that end with the one that started them, which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsseg_bench.machine.lifeline import VARIABLE, Lifeline, follow
from tests.machine.test_pool import ended
from tests.support.fresh import ROOT

CHILD = """
import os, signal, sys, time
from fsseg_bench.machine import lifeline
lifeline.PATIENCE = 0.3
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
lifeline.follow()
assert lifeline.VARIABLE not in os.environ
print(os.getpid(), flush=True)
time.sleep(1000)
"""
PARENT = """
import os, subprocess, sys, time
from fsseg_bench.machine.lifeline import Lifeline
line = Lifeline()
for kind in ("willing", "stubborn"):
    subprocess.Popen(
        [sys.executable, "-c", sys.argv[1], kind], env={**os.environ, **line.environment}, pass_fds=line.pass_fds
    )
time.sleep(1000)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes")
def test_a_killed_parent_takes_its_children_with_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    assert not any(ended(pid, 0.2) for pid in pids)
    parent.kill()
    assert all(ended(pid) for pid in pids)
    parent.wait()
    parent.stdout.close()


@pytest.mark.parametrize(("kind", "code"), [("willing", -signal.SIGTERM), ("stubborn", 143)])
def test_letting_go_is_as_being_killed(kind: str, code: int) -> None:
    with Lifeline() as line:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, kind],
            stdout=subprocess.PIPE,
            env={**ENVIRONMENT, **line.environment},
            pass_fds=line.pass_fds,
        )
        assert child.stdout is not None
        assert child.stdout.readline()
        assert child.poll() is None
    assert child.wait(600) == code
    child.stdout.close()
    line.close()  # once more


def test_without_a_lifeline_nothing_is_followed() -> None:
    follow()


@pytest.mark.parametrize("named", ["x", "0.5", "99999", "file"])
def test_what_is_no_lifeline_is_refused(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setenv(VARIABLE, str(file.fileno()) if named == "file" else named)
        with pytest.raises(ValueError, match="names no pipe; unset it"):
            follow()
    assert VARIABLE not in os.environ
