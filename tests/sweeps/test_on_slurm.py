"""A sweep's cells as jobs of a private Slurm, with cells that take no time."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.on_slurm import queued, submit, wait
from fsseg_bench.sweeps.plan import cell_folder, read_plan
from fsseg_bench.sweeps.submissions import SUBMISSIONS_FILE, read_submissions
from tests.support.fake_sweep import FAILS, FALLS, MAKES, NOTHING, WAITS, FakeSweep
from tests.support.fakes import FAKE, until
from tests.support.fresh import ROOT, python
from tests.support.real_sweep import RealSweep
from tests.support.slurm import missing, private_slurm
from tests.support.sweeps import held

pytestmark = pytest.mark.slow
STOPPED_AND_DONE = ([143, 0], [-15, 0])
"""Slurm sends SIGTERM to all processes of a job: the cell gets a second one, which may come when Python has ended."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A private Slurm, for all tests of this file."""
    if reason := missing():
        pytest.skip(reason)
    with private_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def slurm(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The private Slurm with nothing in its queue, for the commands of this process."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))]:
        monkeypatch.delenv(name)
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    yield
    said("scancel", f"--user={getpass.getuser()}")
    until(lambda: not said("squeue", "--noheader"))


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def interpreter(folder: Path) -> str:
    """The Python of the nodes: its cells take no time."""
    path = folder / "python"
    code = f"import sys; from fsseg_bench.sweeps.on_node import main; sys.exit(main(sys.argv[1:], {FAKE!r}))"
    path.write_text(
        f'#!/bin/sh\nshift 2\nPYTHONPATH={ROOT} exec {sys.executable} -c {shlex.quote(code)} "$@"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return str(path)


class Sweep(FakeSweep):
    """A sweep of fake cells, for Slurm."""

    def __init__(
        self,
        folder: Path,
        turns: Mapping[str, Mapping[str, Any]],
        waits_for: Mapping[str, str] = NOTHING,
        slurm: Mapping[str, Any] = NOTHING,
        **needs: Any,
    ) -> None:
        super().__init__(folder, turns, waits_for, {"pause_seconds": 0, **slurm}, **needs)
        self.said: list[str] = []
        self.python = interpreter(folder)

    def submit(self, *labels: str) -> list[str]:
        """The labels that were submitted, of those that are to be made."""
        cells = [cell for cell in self.plan.cells if cell.label in labels or not labels]
        made = submit(self.folder, self.plan, cells, say=self.said.append, python=self.python)
        return [label for one in made for label in one.labels]

    def wait(self) -> dict[str, str]:
        """The states of the cells when nothing is in the queue."""
        states = wait(self.folder, self.plan, say=self.said.append, seconds=0.2)
        return {state.cell.label: state.state for state in states}

    def job(self, label: str) -> str:
        return queued(self.folder)[label].split()[2]


def test_each_cell_gets_a_gpu_and_nothing_is_submitted_twice(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, dict.fromkeys("abcd", MAKES))
    assert sweep.submit() == ["a", "b", "c", "d"]
    assert sweep.submit() == []
    assert set(sweep.wait().values()) == {"done"}
    made = [attempt for label in "abcd" for attempt in sweep.attempts(label)]
    assert len(made) == 4
    assert {(one.code, one.gpu, one.engine) for one in made} == {(0, "0", "slurm"), (0, "1", "slurm")}
    assert sweep.submit() == []
    assert queued(sweep.folder) == {}
    assert len(list((sweep.folder / "slurm").glob("*_*.txt"))) == 4


def test_what_would_fail_again_is_not_tried_again_and_what_falls_is_until_its_retries_are_used(
    slurm: None, tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, {"fine": MAKES, "wrong": FAILS, "weak": FALLS}, retries=1)
    sweep.submit()
    assert sweep.wait() == {"fine": "done", "wrong": "failed", "weak": "gave up"}
    assert sweep.codes("wrong") == [2]
    assert sweep.codes("weak") == [-9, -9]
    assert any("this can never be" in words for words in sweep.said)
    assert sweep.submit("wrong") == ["wrong"]  # whoever asks for it again gets another attempt
    sweep.wait()
    assert sweep.codes("wrong") == [2, 2]


def test_a_cell_that_is_preempted_goes_on_by_itself(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": WAITS})
    sweep.submit()
    sweep.until_waiting("a")
    said("sbatch", "--partition=urgent", "--gres=gpu:2", "--output=/dev/null", "--wrap=true")
    until(lambda: sweep.codes("a")[0] is not None)
    sweep.go()
    assert sweep.wait() == {"a": "done"}
    assert sweep.codes("a") in STOPPED_AND_DONE
    assert sweep.attempts("a")[0].excused
    sweep.made_once()


def test_a_cell_whose_time_is_nearly_over_is_stopped_and_goes_on_by_itself(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": WAITS})
    sweep.submit()
    sweep.until_waiting("a")
    said("scancel", "--batch", "--signal=USR1", sweep.job("a"))
    until(lambda: sweep.codes("a")[0] is not None)
    sweep.go()
    assert sweep.wait() == {"a": "done"}
    assert sweep.codes("a") in STOPPED_AND_DONE
    assert not sweep.attempts("a")[0].excused
    sweep.made_once()


def test_a_cancelled_cell_stays_away_until_the_same_command_comes_again(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": WAITS, "b": WAITS, "c": WAITS})
    sweep.submit()
    sweep.until_waiting("a", "b")
    assert "PENDING" in queued(sweep.folder)["c"]
    said("scancel", sweep.job("b"), sweep.job("c"))
    until(lambda: set(queued(sweep.folder)) == {"a"})
    assert sweep.states() == {"a": "running", "b": "stopped", "c": "waiting"}
    assert sweep.submit() == ["b", "c"]
    sweep.go()
    assert set(sweep.wait().values()) == {"done"}
    assert sweep.codes("b") in STOPPED_AND_DONE
    sweep.made_once()


def test_a_cell_that_needs_another_comes_after_it_and_the_arrays_are_as_large_as_the_cluster_allows(
    slurm: None, tmp_path: Path
) -> None:
    sweep = Sweep(
        tmp_path,
        {"after": MAKES, "first": WAITS, **dict.fromkeys("abcd", MAKES)},
        waits_for={"after": "first"},
        slurm={"at_once": 2},
    )
    sweep.submit()
    assert [len(one.labels) for one in read_submissions(sweep.folder)] == [4, 1, 1]  # MaxArraySize is 4
    sweep.until_waiting("first")
    assert "(PENDING, Dependency)" in queued(sweep.folder)["after"]
    sweep.go()
    assert set(sweep.wait().values()) == {"done"}
    assert (sweep.attempts("first")[0].ended or "") <= sweep.attempts("after")[0].begun


def test_a_cell_whose_training_failed_is_not_tried(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"first": FAILS, "after": MAKES}, waits_for={"after": "first"})
    assert sweep.submit() == ["first", "after"]
    assert sweep.wait() == {"first": "failed", "after": "waiting"}
    assert sweep.attempts("after") == []
    assert sweep.submit("after") == []
    assert any("after waits for first (failed)" in words for words in sweep.said)


def test_two_submitters_at_once_submit_each_cell_once(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, dict.fromkeys("abcd", WAITS))
    code = (
        "import sys; from pathlib import Path; from fsseg_bench.sweeps import on_slurm, plan\n"
        f"folder = Path({str(sweep.folder)!r}); p = plan.read_plan(folder)\n"
        f"on_slurm.submit(folder, p, p.cells, python={sweep.python!r})"
    )
    threads = [threading.Thread(target=python, args=(code,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(label for one in read_submissions(sweep.folder) for label in one.labels) == Counter("abcd")
    sweep.go()
    assert set(sweep.wait().values()) == {"done"}


def test_a_cell_that_somebody_else_makes_is_left_to_them(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": MAKES, "b": MAKES})
    with held(cell_folder(sweep.folder, sweep.plan.by_label["a"])):
        assert sweep.submit() == ["b"]
        assert sweep.wait() == {"a": "running", "b": "done"}


def test_a_submission_whose_number_was_never_noted_is_found_by_its_name(slurm: None, tmp_path: Path) -> None:
    comment = 'it\'s "b" \\ # c'
    sweep = Sweep(tmp_path, {"a": WAITS}, slurm={"comment": comment})
    sweep.submit()
    assert said("squeue", "--noheader", "--format=%k") == comment
    path = sweep.folder / SUBMISSIONS_FILE
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second[:7])  # as a kill between the two, or in the middle of a line, leaves it
    assert sweep.job("a").endswith("_0")
    assert sweep.submit() == []
    said("scancel", sweep.job("a"))
    until(lambda: not queued(sweep.folder))
    assert sweep.submit() == ["a"]
    sweep.go()
    sweep.wait()
    assert [one.labels for one in read_submissions(sweep.folder)] == [("a",), ("a",)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({"constraint": "a100"}, "Invalid feature specification"),
        ({"gres": "gpu:7"}, "Requested node configuration is not available"),
        ({"site": {"color": "red"}}, "unrecognized option"),
    ],
)
def test_slurm_says_why_it_refuses(slurm: None, tmp_path: Path, options: dict[str, str], words: str) -> None:
    sweep = Sweep(tmp_path, {"a": MAKES}, slurm=options)
    with pytest.raises(UserError, match=words):
        sweep.submit()
    assert queued(sweep.folder) == {}


def test_whoever_stops_waiting_learns_how_to_cancel_the_jobs(slurm: None, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": WAITS})
    sweep.submit()
    sweep.until_waiting("a")
    stop = threading.Event()
    stop.set()
    states = wait(sweep.folder, sweep.plan, say=sweep.said.append, stop=stop)
    assert [state.state for state in states] == ["running"]
    assert sweep.said[-1] == f"the jobs go on without this command; scancel {sweep.job('a').split('_')[0]} cancels them"


def test_true_runs_that_were_disturbed_are_as_if_they_were_not(slurm: None, tmp_path: Path) -> None:
    sweep = RealSweep(tmp_path, "workers = 0\n[slurm]\npause_seconds = 0\n")
    assert sweep.command("--on", "slurm").wait() == 0
    with sweep.held(2):
        jobs = [words.split()[2] for words in queued(sweep.folder).values()]
        said("scancel", "--batch", "--signal=USR1", jobs[0])
        said("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true")
    assert sweep.command("--on", "slurm", "--wait").wait() == 0  # nothing is submitted again
    assert len(read_submissions(sweep.folder)) == 1
    plan = read_plan(sweep.folder)
    attempts = [read_attempts(cell_folder(sweep.folder, cell)) for cell in plan.cells]
    assert all(len(found) > 1 and 0 < found[-1].done_before < plan.cells[0].steps for found in attempts)
    sweep.as_undisturbed(tmp_path / "by hand")
