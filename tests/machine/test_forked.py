"""The support of these tests that forks processes of Python: they are as fresh ones are, to who starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.usefixtures("forked_processes"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are fresh ones"),
]
WHAT = """
import json, os, sys
early = "torch" in sys.modules
print(json.dumps([early, os.getpid(), os.getppid(), os.getpgrp(), os.getcwd(), sys.argv, os.environ["WHAT"]]))
print("wrong", file=sys.stderr)
sys.exit(int(input()))
"""
WITHIN = f"""
import os, subprocess, sys
done = subprocess.run([sys.executable, "-c", {WHAT!r}], input="0", capture_output=True, text=True, check=True)
print(os.getpid(), os.getpgrp(), done.stdout)
"""
WAITS = "import time; print(flush=True); [time.sleep(0.1) for _ in range(6000)]"
"""In short sleeps: a signal that comes just before a sleep begins is acted on only when that sleep ends."""


def test_it_sees_what_it_is_given_and_tells_how_it_ended(tmp_path: Path) -> None:
    done = subprocess.Popen(
        [sys.executable, "-c", WHAT, "a", "b c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "WHAT": "this"},
    )
    out, err = done.communicate("7")
    seen = [True, done.pid, os.getpid(), os.getpgrp(), str(tmp_path), ["-c", "a", "b c"], "this"]
    assert (json.loads(out), err, done.returncode) == (seen, "wrong\n", 7)


def test_so_are_those_that_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAT", "that")
    with subprocess.Popen([sys.executable, "-c", WITHIN], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        pid, group, told = process.stdout.read().decode().split(maxsplit=2)
    early, _, parent, group_within, *_, what = json.loads(told)
    assert (early, parent, group_within, what) == (True, int(pid), int(group), "that")
    assert int(pid) == int(group) == process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_its_group_ends_it(number: signal.Signals) -> None:
    command = [sys.executable, "-c", WAITS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        os.killpg(process.pid, number)
        _, err = process.communicate()
    assert process.returncode == -number
    assert (b"KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_other_files_are_given_under_their_numbers() -> None:
    read, write = os.pipe()
    code = f"import os; os.write({write}, b'here')"
    subprocess.run([sys.executable, "-c", code], pass_fds=[write], check=True)
    os.close(write)
    assert [os.read(read, 9), os.read(read, 9)] == [b"here", b""]
    os.close(read)
