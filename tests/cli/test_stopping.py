"""Runs that are told to end, as processes of their own: what they leave, and that the same command goes on from it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.machine.lifeline import Lifeline
from fsseg_bench.records.info import CHECKPOINT_FILE, EPISODES_FILE, TRAIN_FILE
from fsseg_bench.records.read import find_records
from tests.support.datasets import write_protocol, write_voc
from tests.support.forked_popen import Forked
from tests.support.fresh import ROOT
from tests.support.same_records import same_records

SECONDS = 600.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("forked_processes"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes"),
]
END = "stopped; the same command goes on from here"
Send = Callable[["subprocess.Popen[str]"], object]


def only(number: signal.Signals) -> Send:
    return lambda process: os.kill(process.pid, number)


def group(*numbers: signal.Signals) -> Send:
    """To all processes, as a terminal or a batch system does."""

    def send(process: subprocess.Popen[str]) -> None:
        for number in numbers:
            os.killpg(process.pid, number)

    return send


class World:
    """A tiny data set, and a command that trains on it and evaluates for some seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_voc(folder / "tiny-voc", train=3, val=4)
        write_protocol(folder / "tiny.toml", size=64, count=80, root="tiny-voc")

    def words(self, out: Path, *more: str) -> list[str]:
        told = f"run --method baseline --dataset {self.folder / 'tiny.toml'} --fold 1 --backbone resnet18-layer2"
        told += " --weights none --device cpu --panels 0 --iterations 40 --set recipe.batch=2 --no-estimate"
        return [*told.split(), "--out", str(out), *more]

    @contextmanager
    def process(self, out: Path, *more: str, lifeline: Lifeline | None = None) -> Iterator[subprocess.Popen[str]]:
        """The command in a process group of its own."""
        paths = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
        held = lifeline.environment if lifeline else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "fsseg_bench", *self.words(out, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **held},
            pass_fds=lifeline.pass_fds if lifeline else (),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)

    def finished(self, out: Path, *more: str) -> Path:
        with self.process(out, *more) as process:
            _, err = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, err
        return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("stopping"))


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Path:
    """The records of folds 1 and 2."""
    return world.finished(world.folder / "undisturbed", "--fold", "1,2")


@pytest.fixture(scope="module")
def first(world: World, undisturbed: Path) -> Path:
    """The record of fold 1 alone."""
    folder = world.folder / "first"
    for run in find_records(undisturbed)[0]:
        if run.fold == 1:
            shutil.copytree(run.folder, folder / run.folder.relative_to(undisturbed))
    return folder


def rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_rows(process: subprocess.Popen[str], out: Path, name: str, count: int, runs: int = 1) -> list[Path]:
    """The folders of so many runs, once each log has so many lines."""
    limit = time.monotonic() + SECONDS
    found: list[Path] = []
    while len(found) < runs:
        assert process.poll() is None, process.communicate(timeout=SECONDS)
        assert time.monotonic() < limit
        time.sleep(0.005)
        found = [path.parent for path in out.rglob(name) if rows(path) >= count]
    return found


def assert_has_all_that_was_logged(folder: Path) -> None:
    """A checkpoint of the last iteration that is logged, although none was due."""
    logged = rows(folder / TRAIN_FILE)
    assert 0 < logged < 40
    assert load_state(folder / CHECKPOINT_FILE).iteration == logged


@pytest.mark.parametrize(
    ("send", "code", "more"),
    [
        (only(signal.SIGTERM), 143, ()),
        (group(signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM), 143, ("--workers", "1")),
        (group(signal.SIGINT), 130, ("--workers", "1")),
    ],
)
def test_a_training_is_stopped_after_its_step(
    world: World, first: Path, tmp_path: Path, send: Send, code: int, more: tuple[str, ...]
) -> None:
    with world.process(tmp_path, *more) as process:
        (folder,) = wait_for_rows(process, tmp_path, TRAIN_FILE, 3)
        send(process)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.splitlines()[-1]) == (code, END), err
    assert_has_all_that_was_logged(folder)
    (run,), _ = find_records(tmp_path)
    assert (run.status, run.info.reason, run.info.timings.train_seconds > 0) == ("training", None, True)
    world.finished(tmp_path, *more)
    assert same_records(first, tmp_path) == 1
    (run,), _ = find_records(tmp_path)
    assert [entry["changed"] for entry in run.info.resumed] == [[]]
    typed = run.info.provenance.typed
    assert typed is not None
    assert typed.startswith("fsseg-bench run --method baseline ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_an_evaluation_is_stopped_after_its_episode(
    world: World, first: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with world.process(tmp_path) as process:
        (folder,) = wait_for_rows(process, tmp_path, EPISODES_FILE, 3)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.splitlines()[-1]) == (code, END), err
    assert 0 < rows(folder / EPISODES_FILE) < 80
    (run,), _ = find_records(tmp_path)
    assert run.status == "evaluating"
    assert run.info.timings.evaluate_episodes == rows(folder / EPISODES_FILE)
    world.finished(tmp_path)
    assert same_records(first, tmp_path) == 1


def test_before_there_is_anything_to_keep_the_end_is_at_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the command is still imported, from when it listens."""
    monkeypatch.setattr(Forked, "address", "")  # which has imported it already
    bit = 1 << (signal.SIGUSR1 - 1)
    with world.process(tmp_path) as process:
        status = Path(f"/proc/{process.pid}/status")
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & bit:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGUSR1)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.split("\n")[-2]) == (143, END)
    assert not list(tmp_path.iterdir())


def test_the_death_of_whoever_started_it_stops_a_training(world: World, first: Path, tmp_path: Path) -> None:
    with Lifeline() as line, world.process(tmp_path, lifeline=line) as process:
        (folder,) = wait_for_rows(process, tmp_path, TRAIN_FILE, 3)
        line.close()  # as a SIGKILL does
        process.communicate(timeout=SECONDS)
        assert process.returncode == 143
    assert_has_all_that_was_logged(folder)


def test_runs_side_by_side_are_stopped_after_their_steps(world: World, undisturbed: Path, tmp_path: Path) -> None:
    more = ("--fold", "1,2", "--jobs", "2")
    with world.process(tmp_path, *more) as process:
        folders = wait_for_rows(process, tmp_path, TRAIN_FILE, 3, runs=2)
        group(signal.SIGUSR1, signal.SIGTERM)(process)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, END in err) == (143, True), err
    for folder in folders:
        assert_has_all_that_was_logged(folder)
    world.finished(tmp_path, *more)
    assert same_records(undisturbed, tmp_path) == 2


def test_the_identity_that_was_planned(world: World, first: Path) -> None:
    """The command of a finished run, which would be done at once."""
    (run,), _ = find_records(first)
    before = (run.folder / "run.json").read_bytes()
    world.finished(first, "--identity", run.info.identity)
    world.finished(first, "--identity", run.info.identity[:8].upper())
    with world.process(first, "--identity", run.info.identity, "--seed", "1") as process:
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "code, data or options have changed since it was planned; give the sweep command again" in err
    with world.process(first, "--identity", run.info.identity, "--fold", "1,2") as process:
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, "names one run, and these are 2" in err) == (2, True)
    assert [one.folder for one in find_records(first)[0]] == [run.folder]
    assert (run.folder / "run.json").read_bytes() == before
