"""Runs side by side, in real processes: their records, and what becomes of them when some fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.jobs import run_all
from fsseg_bench.engine.share import Jobs
from fsseg_bench.engine.side_by_side import RunFailedError, RunTask, longest_first
from fsseg_bench.errors import BugError, LaterError, UserError
from fsseg_bench.machine.pool import Listener, Pool
from fsseg_bench.machine.pool_worker import Done, Failure
from fsseg_bench.machine.share import ALONE
from fsseg_bench.progress import Job, Meter, Progress, Unit
from fsseg_bench.records.request import RunRequest
from tests.support.fresh import ROOT
from tests.support.tiny_run import tiny_request, tiny_training

slow = pytest.mark.slow
pytestmark = pytest.mark.usefixtures("forked_processes")

OWN = '''"""Fails on some folds.

Title: none
Fidelity: own design
"""
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method, feature_map
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.recipe import Recipe


class Own(Method):
    def __init__(self, backbone, facts=None, **given):
        super().__init__(backbone, **given)

    def predict(self, episode):
        print("a word of the method")
        return feature_map(episode.query)[:, :2]

    def loss(self, episode):
        FAIL

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=2, batch=1, lr=0.1)
'''


class Told(Progress):
    """Remembers what it is told, and of which job."""

    def __init__(self) -> None:
        self.ahead: Sequence[Job] = ()
        self.side_by_side = 0
        self.said: list[str] = []
        self.steps: Counter[tuple[int, str]] = Counter()
        self.failed: list[int] = []

    def jobs(self, jobs: Sequence[Job], side_by_side: int = 1) -> None:
        self.ahead, self.side_by_side = jobs, side_by_side

    def say(self, message: str) -> None:
        self.said.append(message)

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        owner = self

        class Inside(Progress):
            @contextmanager
            def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
                class Counting(Meter):
                    def advance(self, steps: int = 1, note: str = "") -> None:
                        owner.steps[number, title] += steps

                yield Counting()

            def say(self, message: str) -> None:
                owner.say(f"{number}: {message}")

        try:
            yield Inside()
        except Exception:
            self.failed.append(number)
            raise


def make(requests: Sequence[RunRequest], jobs: Jobs = 2) -> tuple[list[Path], Told]:
    told = Told()
    return run_all(plan_all(requests, {}, jobs=jobs), {}, told), told


def record_of(folder: Path) -> dict[str, Any]:
    """run.json without what is different each time."""
    content = json.loads((folder / "run.json").read_text())
    for key in ("created", "timings", "check"):
        content.pop(key)
    content["passed"].pop("out")
    content["provenance"].pop("process")
    return content


def test_the_longest_run_is_begun_first_where_it_is_known() -> None:
    speeds = {"train": 2.0, "evaluate": 0.5}
    jobs = [Job(str(n), "a", {"train": n, "evaluate": 4}, speeds) for n in (1, 3, 3, 0, 5)]
    assert [job.seconds for job in jobs] == [4, 8, 8, 2, 12]
    assert longest_first([*jobs, Job("done", "a", {})]) == [4, 1, 2, 0, 3, 5]
    assert longest_first([*jobs, Job("unknown", "b", {"train": 9}, {"evaluate": 1.0})]) == [0, 1, 2, 3, 4, 5]


@slow
def test_records_are_those_of_one_run_after_the_other(tmp_path: Path) -> None:
    """All that is recorded, but for times: with as many threads, byte for byte."""
    base = tiny_request(tmp_path, iterations=3, panels=2, threads=1, settings=tiny_training())
    requests = [replace(base, method=method, fold=fold) for method in ("baseline", "panet") for fold in (1, 2)]
    before = torch.get_num_threads()
    serial, _ = make([replace(request, out=str(tmp_path / "serial")) for request in requests], jobs=1)
    folders, told = make(requests)
    assert torch.get_num_threads() == 1  # as was asked for
    torch.set_num_threads(before)
    assert len({folder.parent.parent for folder in folders}) == 2
    for one, other in zip(serial, folders, strict=True):
        assert one.relative_to(tmp_path / "serial") == other.relative_to(tmp_path / "runs")
        assert record_of(one) == record_of(other)
        files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
        assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
        assert {"train.jsonl", "episodes.jsonl", "predictions.jsonl"} <= {str(path) for path in files}
        assert any(path.suffix == ".png" for path in files)
        for path in files:
            if path.name not in {"run.json", "checkpoint.pt"}:
                assert (one / path).read_bytes() == (other / path).read_bytes(), path
        models = [torch.load(folder / "checkpoint.pt", weights_only=True)["model"] for folder in (one, other)]
        assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    # what was told of each
    assert (told.side_by_side, [job.title for job in told.ahead]) == (
        2,
        ["baseline fold 1", "baseline fold 2", "panet fold 1", "panet fold 2"],
    )
    expected = {(number, title): steps for number in range(4) for title, steps in (("train", 3), ("evaluate", 12))}
    assert told.steps == expected
    results = [line.partition(" %")[0].rpartition(" ")[0] for line in told.said if "mean IoU" in line]
    assert sorted(results) == [f"{job.title}: mean IoU" for job in told.ahead]


@slow
def test_what_was_done_before_is_not_done_again(tmp_path: Path) -> None:
    requests = [tiny_request(tmp_path, fold=fold) for fold in (1, 2, 3)]
    first, _ = make(requests[:1])
    before = (first[0] / "run.json").read_bytes()
    folders, told = make(requests)
    assert folders[0] == first[0]
    assert (folders[0] / "run.json").read_bytes() == before
    assert {number for number, _ in told.steps} == {1, 2}
    assert [line for line in told.said if line.startswith("baseline fold 1")] == []
    _, told = make(requests)
    assert told.side_by_side == 1  # nothing is left for other processes


@slow
def test_processes_that_begin_on_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both draw the embedded images at once."""
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    small = {f"protocol.data.{key}": value for key, value in (("train_images", 60), ("test_images", 60))}
    options: dict[str, Any] = {"episodes": "20", "iterations": 0, "panels": 0, "device": "cpu", "settings": small}
    requests = [RunRequest("baseline", "shapes5i", fold, **options, out=str(tmp_path / "runs")) for fold in (1, 2)]

    class Heard(Listener):
        def ended(self, task: int, outcome: Done | Failure) -> None:
            assert isinstance(outcome, Done), outcome

    with Pool("fsseg_bench.engine.run_worker:worker", [{}, {}]) as pool:
        outcomes = pool.run([RunTask(request, ALONE, done=False) for request in requests], Heard())
    folders = [outcome.result.folder for outcome in outcomes if outcome]
    assert len(set(folders)) == 2
    assert len(list((tmp_path / "cache" / "shapes5i").iterdir())) == 1
    serial, _ = make([replace(request, out=str(tmp_path / "serial")) for request in requests], jobs=1)
    assert all(
        (one / "episodes.jsonl").read_bytes() == (other / "episodes.jsonl").read_bytes()
        for one, other in zip(serial, folders, strict=True)
    )


def failing(folder: Path, failure: str, count: int) -> list[RunRequest]:
    """Runs of a method of one's own, whose training fails; and of one that works."""
    (folder / "own").mkdir()
    (folder / "own" / "own.py").write_text(OWN.replace("FAIL", failure))
    base = tiny_request(folder, iterations=1, settings=tiny_training(), methods_path=str(folder / "own"))
    return [
        *(replace(base, method="own", fold=fold) for fold in range(1, count + 1)),
        *(replace(base, fold=fold) for fold in (1, 2)),
    ]


@slow
def test_other_runs_are_made_when_one_fails(tmp_path: Path) -> None:
    told = Told()
    requests = failing(tmp_path, 'raise UserError("wrong; mend it")', 1)
    with pytest.raises(UserError) as error:
        run_all(plan_all(requests, {}, jobs=2), {}, told)
    assert str(error.value).splitlines() == [
        "1 of 3 runs failed, 2 are done; the same command goes on from there",
        "  own fold 1: wrong; mend it",
    ]
    assert "own fold 1 failed: wrong; mend it" in told.said
    assert told.failed == [0]
    statuses = {path.parent.parent.parent.name: record_of(path.parent) for path in tmp_path.rglob("run.json")}
    found = {name: (one["status"], one.get("reason")) for name, one in statuses.items()}
    assert found == {
        "own-resnet18-layer2": ("failed", "wrong; mend it"),
        "baseline-resnet18-layer2": ("done", None),
    }


@slow
def test_a_bug_is_one_and_says_where(tmp_path: Path) -> None:
    requests = failing(tmp_path, 'raise KeyError("x")', 2)
    with pytest.raises(
        RunFailedError,
        match=r"^2 of 4 runs failed, 2 are done: own fold 1, own fold 2: KeyError: 'x' \(own.py, line 21\)$",
    ):
        make(requests)
    try:
        make(requests)
    except RunFailedError as error:
        assert "own.py" in str(error.__cause__)


@slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_method_that_ends_the_process_ends_its_run_alone(tmp_path: Path, jobs: Jobs) -> None:
    """And as a bug: with the code of its choice, zero for one, a run that is not done would seem to be."""
    requests = failing(tmp_path, "raise SystemExit(0)", 1)
    with pytest.raises(BugError, match=r"SystemExit: 0 \(own.py, line 21\)$"):
        make(requests, jobs)
    (failed,) = (record_of(path.parent) for path in tmp_path.rglob("own-*/**/run.json"))
    assert (failed["status"], failed["reason"]) == ("failed", "a bug: SystemExit: 0 (own.py, line 21)")
    assert len(list(tmp_path.rglob("run.json"))) == (1 if jobs == 1 else 3)


@slow
def test_what_fails_alike_is_told_once(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(UserError, match=r"\n  own fold 1, own fold 2: wrong; mend it$"):
        run_all(plan_all(failing(tmp_path, 'raise UserError("wrong; mend it")', 2), {}, jobs=2), {}, told)
    failed = [line for line in told.said if " failed" in line]
    first = failed[0].partition(" failed")[0]
    other = ({"own fold 1", "own fold 2"} - {first}).pop()
    assert failed == [f"{first} failed: wrong; mend it", f"{other} failed as {first} did"]


@slow
def test_nothing_is_begun_after_a_process_has_died(tmp_path: Path) -> None:
    """Perhaps for want of memory, of which the others would have no more."""
    requests = failing(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 3)
    with pytest.raises(UserError) as error:
        make(requests)
    assert isinstance(error.value, LaterError)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("were not begun; the same command goes on from there")
    assert all(
        "was ended by SIGKILL, perhaps by the system for want of memory (fewer --jobs need less)" in line
        for line in lines[1:]
    )


@slow
def test_what_a_method_prints_is_said_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # as most people have it
    requests = [replace(request, iterations=0, settings={}) for request in failing(tmp_path, "pass", 2)[:2]]
    _, told = make(requests)
    assert {"own fold 1: a word of the method", "own fold 2: a word of the method"} <= set(told.said)


_SCRIPT = """
import sys
import fsseg_bench
print("begun")
frame = fsseg_bench.run("baseline", sys.argv[1], fold=[1, 2], backbone="resnet18-layer2", weights="none", device="cpu",
                        iterations=0, panels=0, out=sys.argv[2], jobs=2, progress=True)
print(sorted(set(frame["fold"])))
"""


@slow
def test_a_script_that_is_not_guarded_is_not_run_again_by_its_processes(tmp_path: Path) -> None:
    """As multiprocessing would do without ``if __name__ == "__main__"``."""
    request = tiny_request(tmp_path)
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), request.dataset, str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "methods")])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["begun", "[1, 2]"]
    assert "2 runs at a time" in done.stderr
    assert len(list((tmp_path / "runs").rglob("run.json"))) == 2
