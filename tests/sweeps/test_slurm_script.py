"""The batch script: what it says to sbatch, and what its shell does, with a pretended ``scontrol``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.plan import Cell, Needs
from fsseg_bench.sweeps.slurm_script import Batch, Options, read_options, resources, script
from tests.support.fakes import until

CELL = Cell("m=baseline,f=1", ("run", "--device", "cuda", "--threads", "3"), "x", "0" * 64, 2, 5)


PLAIN = Options()


def batch(folder: Path, options: Options = PLAIN, python: str = "/py", asked: Mapping[str, str] = {}) -> Batch:
    return Batch("table-1a2b", folder, ("a", "it's b"), "2026-01-01T00:00:00.000+00:00", python, asked, options)


def directives(text: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_what_is_said_to_sbatch() -> None:
    options = read_options(
        {"partition": "gpu", "at_once": 2, "exclusive": True, "contiguous": False, "comment": 'a "b" # c', "nice": 5}
    )
    needs = Needs(gpus=1, threads=4, workers=2, memory_gib=16.5, minutes=240)
    text = script(batch(Path("/runs 100%/sweeps/t"), options, asked=resources(needs, [CELL], options)))
    assert directives(text) == {
        "job-name": "table-1a2b",
        "array": "0-1%2",
        "requeue": "",
        "open-mode": "append",
        "signal": "B:USR1@120",
        "output": '"/runs 100%%/sweeps/t/slurm/%A_%a.txt"',
        "gres": "gpu:1",
        "cpus-per-task": "6",
        "mem": "16896M",
        "time": "240:00",
        "partition": "gpu",
        "exclusive": "",
        "comment": '"a \\"b\\" # c"',
        "nice": "5",
    }
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("needs", "options", "command", "expected"),
    [
        (Needs(), {}, CELL.command, {"gres": "=gpu:1", "cpus-per-task": "=3"}),
        (Needs(), {}, ("run", "--device", "cpu"), {"cpus-per-task": "=1"}),
        (Needs(gpus=0, minutes=3.7), {}, CELL.command, {"cpus-per-task": "=3", "time": "=3:42"}),
        (
            Needs(memory_gib=1, minutes=9),
            {"mem_per_cpu": "2G", "gpus": "h100:1", "cpus-per-task": 8, "time": 9},
            (),
            {},
        ),
    ],
)
def test_what_a_cell_asks_for(
    needs: Needs, options: dict[str, Any], command: tuple[str, ...], expected: dict[str, str]
) -> None:
    cell = Cell("a", command, "x", "0" * 64, 2, 5)
    assert resources(needs, [cell], read_options(options)) == expected


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"array": "0-3"}, "array cannot be set here: at_once says"),
        ({"no_requeue": True}, "no_requeue cannot be set here"),
        ({"partition": "gpu\n#SBATCH --array=0-999"}, "partition holds a line break"),
        ({"setup": ["module load cuda\nrm -rf /"]}, r"setup\[0\].*one line"),
        ({"setup": "module load cuda"}, "setup.*a list"),
        ({"at_once": 0}, "at_once.*at least 1"),
        ({"licenses": ["a", "b"]}, "licenses must be text, a number, or true"),
        ({"gpu\n": 1}, "unknown key"),
        ({"part ition": 1}, "unknown key"),
        ({"partitoin": "gpu"}, "unknown key 'partitoin'. Did you mean 'partition'.*slurm.site"),
        ({"at-onec": 2}, "unknown key 'at-onec'. Did you mean 'at_once'"),
        ({"site": {"array": "0-3"}}, "site: array cannot be set here"),
        ({"site": "gpu"}, "site must be a table"),
    ],
)
def test_what_cannot_be_in_a_script_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_options(table)


def test_options_of_one_cluster_alone_stand_apart() -> None:
    options = read_options({"mem_per_gpu": "8G", "site": {"x11_port": 7, "burst": True}})
    assert options.others == {"mem-per-gpu": "=8G", "x11-port": "=7", "burst": ""}


def test_a_time_limit_that_would_stop_a_cell_at_once_is_refused() -> None:
    options = read_options({"signal_seconds": 120})
    with pytest.raises(UserError, match="minutes = 3 leaves a cell no time"):
        resources(Needs(minutes=3), [CELL], options)
    assert resources(Needs(minutes=3.1), [CELL], options)["time"] == "=3:06"


@pytest.mark.parametrize("name", ["a\\b", "a\nb"])
def test_a_folder_that_slurm_cannot_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="Slurm takes no folder"):
        script(batch(Path("/") / name))


class Node:
    """Runs a script as Slurm would: ``scontrol`` notes what it is told, the interpreter ends as it is told to."""

    def __init__(self, folder: Path, ends: str) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self._command("scontrol", f'echo "$*" >> "{folder}/told"')
        self._command("python", f'echo "$*" > "{folder}/asked"; {ends}')
        text = script(batch(folder, Options(pause_seconds=7, setup=("export SAID=1",)), str(folder / "bin" / "python")))
        environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_ARRAY_JOB_ID": "12",
            "SLURM_ARRAY_TASK_ID": "1",
        }
        self.shell = subprocess.Popen(["bash", "-c", text], env=environment, start_new_session=True)

    def _command(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)

    @property
    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []


REQUEUED = "requeue 12_1"
PAUSED = "update JobId=12_1 StartTime=now+7"


@pytest.mark.parametrize(
    ("ends", "code", "told"),
    [
        ("exit 0", 0, []),
        ("exit 1", 1, []),
        ("exit 2", 2, []),
        ("exit 70", 70, []),
        ("exec /nowhere", 126, []),
        ("exit 143", 143, []),
        ("exit 75", 75, [REQUEUED, PAUSED]),
        ("kill -KILL $$", 137, [REQUEUED, PAUSED]),
        ('[ "$SAID" ] && exit 0; exit 2', 0, []),
    ],
)
def test_how_a_job_ends(tmp_path: Path, ends: str, code: int, told: list[str]) -> None:
    node = Node(tmp_path, ends)
    assert node.shell.wait(600) in ({126, 127} if code == 126 else {code})
    assert node.told == told
    words = (tmp_path / "asked").read_text().split()
    assert words[:2] == ["-m", "fsseg_bench.sweeps.on_node"]
    assert words[-6:] == ["it's", "b", "--engine", "slurm", "--since", "2026-01-01T00:00:00.000+00:00"]


def test_a_package_in_the_current_folder_is_not_taken_for_that_of_the_command(tmp_path: Path) -> None:
    here, place = tmp_path / "here", tmp_path / "it's $HOME"
    for folder, code in ((here, 2), (place, 70)):
        (folder / "fsseg_bench" / "sweeps").mkdir(parents=True)
        for name in ("__init__.py", "sweeps/__init__.py"):
            (folder / "fsseg_bench" / name).touch()
        (folder / "fsseg_bench" / "sweeps" / "on_node.py").write_text(f"raise SystemExit({code})")
    text = script(replace(batch(tmp_path, python=sys.executable), path=(str(place),)))
    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": "0", "PYTHONPATH": str(here)}
    assert subprocess.run(["bash", "-c", text], cwd=here, env=environment, check=False).returncode == 70


@pytest.mark.parametrize(
    ("number", "ends", "code", "told"),
    [
        (signal.SIGUSR1, "exit 143", 143, [REQUEUED]),
        (signal.SIGUSR1, "exit 0", 0, []),  # done in the last minute
        (signal.SIGUSR1, "exit 2", 2, []),
        (signal.SIGTERM, "exit 143", 143, []),  # preempted: Slurm requeues; cancelled: nobody does
    ],
)
def test_a_signal_goes_to_the_cell_and_the_shell_waits_for_it(
    tmp_path: Path, number: signal.Signals, ends: str, code: int, told: list[str]
) -> None:
    up, done = tmp_path / "up", tmp_path / "done"
    end = f"trap 'sleep 0.3; touch {done}; {ends}' {number.name}; touch {up}; while :; do sleep 0.05; done"
    node = Node(tmp_path, end)
    until(up.exists)
    node.shell.send_signal(number)
    assert node.shell.wait(600) == code
    assert done.exists()
    assert node.told == told


def test_a_job_that_is_cancelled_as_it_begins_does_not_come_back(tmp_path: Path) -> None:
    """Slurm signals all processes of a job: the shell's child may die of the signal that ends the shell's wait."""
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        node = Node(folder, "exec sleep 600")
        time.sleep(number / 2000)
        os.killpg(node.shell.pid, signal.SIGTERM)
        assert node.shell.wait(600) in {143, -15}  # the latter before the shell has read anything
        assert node.told == []
