import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.sweep_status import status
from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.attempts import begin_attempt, end_attempt
from tests.support.fresh import ROOT, python
from tests.support.runs import write_run
from tests.support.sweeps import cell, held, planned

SECONDS = 600
"""Only ends a hang."""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(status, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cells = [cell(tmp_path, name, options={"method": name}) for name in ("panet", "canet", "dan")]
    made = planned(tmp_path, cells)
    write_run(tmp_path, method="panet")
    begin_attempt(made / "cells" / "canet", "local", 0)
    end_attempt(made / "cells" / "canet", 2, 0)
    (made / "cells" / "canet" / "log.txt").write_text("error: no \x1b[31mdata\n")
    return made


def test_a_table_of_what_is_not_done(tmp_path: Path, folder: Path) -> None:
    result = call("table", "--out", tmp_path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "table: 3 cells: 1 done, 1 waiting, 1 failed"
    assert "33 % of all steps" in lines[1]
    (line,) = (line for line in lines if line.startswith("canet"))
    assert "exit code 2: error: no \N{REPLACEMENT CHARACTER}[31mdata" in line
    assert not [line for line in lines if line.startswith(("panet", "dan"))]
    assert [line for line in call("table", "--out", tmp_path, "-v").stdout.splitlines() if line.startswith("dan")]


def test_the_exit_code_is_0_when_all_are_done(tmp_path: Path, folder: Path) -> None:
    for name in ("canet", "dan"):
        write_run(tmp_path, method=name)
    result = call("table", "--out", tmp_path, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["counts"]["done"] == 3
    assert call("table", "--out", tmp_path, "--watch").exit_code == 0


def test_watching_ends_where_nothing_is_left_but_what_failed_and_what_waits_for_it(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "panet"), replace(cell(tmp_path, "canet"), waits_for="panet")]
    made = planned(tmp_path, cells)
    begin_attempt(made / "cells" / "panet", "local", 0)
    end_attempt(made / "cells" / "panet", 2, 0)
    result = call("table", "--out", tmp_path, "--watch")
    assert (result.exit_code, result.stdout) == (1, "table: 2 cells: 1 waiting, 1 failed\n")


def test_json_is_one_document(tmp_path: Path, folder: Path) -> None:
    with held(folder / "cells" / "dan") as process:
        result = call("table", "--out", tmp_path, "--json")
    assert result.exit_code == 1
    cells = {one["cell"]: one for one in json.loads(result.stdout)["cells"]}
    assert [one["state"] for one in cells.values()] == ["done", "failed", "running"]
    assert cells["dan"]["options"] == {"method": "dan"}
    assert process


def test_long_lists_are_cut(tmp_path: Path) -> None:
    made = planned(tmp_path, [cell(tmp_path, f"m{i}") for i in range(30)])
    for i in range(30):
        begin_attempt(made / "cells" / f"m{i}", "local", 0)
    text = call("table", "--out", tmp_path).stdout
    assert "and 10 more; --verbose lists them" in text
    assert "m19" in text
    assert "m20" not in text
    assert "m29" in call("table", "--out", tmp_path, "-v").stdout


def test_mistakes(tmp_path: Path, folder: Path) -> None:
    assert isinstance(call("tables", "--out", tmp_path).exception, UserError)
    error = call("table", "--out", tmp_path, "--json", "--watch").exception
    assert isinstance(error, UserError)
    assert "exclude each other" in str(error)


class Watching:
    """``sweep status --watch`` on a terminal; what it shows is read until it holds some words."""

    def __init__(self, root: Path) -> None:
        self.main, other = pty.openpty()
        code = "from fsseg_bench.cli.sweep_status import status; status(standalone_mode=True)"
        command = [sys.executable, "-c", code, "table", "--out", str(root), "--watch"]
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, cwd=ROOT)
        os.close(other)

    def __enter__(self):
        return self.process, self.read

    def read(self, wanted: str) -> str:
        text, end = "", time.monotonic() + SECONDS
        while time.monotonic() < end:
            ready, _, _ = select.select([self.main], [], [], 0.2)
            try:
                text += os.read(self.main, 65536).decode() if ready else ""
            except OSError:  # the other side is closed
                break
            if wanted and wanted in text:
                return text
            if not wanted and not ready:
                return text
        assert not wanted, text
        return text

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.main)


def test_watching_redraws_on_a_terminal_until_all_are_done(tmp_path: Path, folder: Path) -> None:
    with Watching(tmp_path) as (process, read):
        read("1 done, 1 waiting, 1 failed")
        write_run(tmp_path, method="canet")
        read("2 done, 1 waiting")
        write_run(tmp_path, method="dan")
        read("3 done")
        assert process.wait(SECONDS) == 0


def test_ctrl_c_ends_watching_without_advice(tmp_path: Path, folder: Path) -> None:
    with Watching(tmp_path) as (process, read):
        read("1 done")
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert "goes on" not in read("")


def test_status_needs_no_torch(tmp_path: Path, folder: Path) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from fsseg_bench.cli.sweep_status import status
result = CliRunner().invoke(status, ["table", "--out", {str(tmp_path)!r}])
print(result.exit_code, "torch" in sys.modules, "pandas" in sys.modules)
"""
    assert python(code) == "1 False False\n"
