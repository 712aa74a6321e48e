"""A sweep's cells as tasks of a Ray of two pretended nodes, with cells that take no time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps import on_ray
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.engine import Ended
from fsseg_bench.sweeps.on_ray import OUTPUT, RayEngine, read_options
from fsseg_bench.sweeps.plan import PLAN_FILE, cell_folder, read_plan
from fsseg_bench.sweeps.ray_driver import task_of
from fsseg_bench.version import __version__
from tests.support.fake_sweep import FAILS, FALLS, MAKES, WAITS, FakeSweep
from tests.support.fakes import FAKE, until
from tests.support.ray_nodes import Nodes, ray_nodes
from tests.support.real_sweep import RealSweep

_DRIVER = """
import sys
from pathlib import Path
from fsseg_bench.sweeps.on_ray import RayEngine
from fsseg_bench.sweeps.plan import read_plan
folder = Path(sys.argv[1])
plan = read_plan(folder)
with RayEngine(folder, plan, program=sys.argv[2:]) as engine:
    for cell in plan.cells:
        engine.begin(cell)
    print(engine._process.pid, flush=True)
    engine.ended(600)
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A Ray cluster, for all tests of this file."""
    pytest.importorskip("ray", reason='no Ray here: pip install "fsseg-bench[ray]"')
    with ray_nodes(tmp_path_factory.mktemp("ray")) as found:
        yield found


class Sweep(FakeSweep):
    """A sweep of fake cells, for Ray: the only GPU of each of two nodes has the same number."""

    def __init__(self, folder: Path, turns: Mapping[str, Mapping[str, Any]], **ray: Any) -> None:
        super().__init__(folder, {label: {**turn, "shares": True} for label, turn in turns.items()}, ray=ray)


def engine_of(sweep: FakeSweep, **more: Any) -> RayEngine:
    return RayEngine(sweep.folder, sweep.plan, program=FAKE, **more)


def until_ended(engine: RayEngine, count: int) -> list[Ended]:
    ended: list[Ended] = []

    def enough() -> bool:
        ended.extend(engine.ended(1))
        return len(ended) >= count

    until(enough)
    return ended


def at_work(sweep: FakeSweep) -> list[str]:
    """The processes that have to do with a sweep."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(sweep.root) in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_each_cell_gets_a_gpu_and_ends_with_its_own_code(nodes: Nodes, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"fine": MAKES, "wrong": FAILS, "weak": FALLS}, address=nodes.address)
    with engine_of(sweep) as engine:
        left, codes = list(sweep.plan.cells), {}
        while len(codes) < 3:
            if left and engine.has_room():
                engine.begin(left.pop(0))
                continue
            assert len(engine._at_work) <= 2  # the nodes have room for two
            codes |= {one.cell.label: one.code for one in engine.ended(1)}
    assert codes == {"fine": 0, "wrong": 2, "weak": -9}
    assert sweep.codes("wrong") == [2]
    assert {(one.engine, one.gpu) for one in sweep.attempts("fine")} == {("ray", "0")}
    assert sweep.states() == {"fine": "done", "wrong": "failed", "weak": "stopped"}


@pytest.mark.slow
def test_a_cell_whose_node_dies_is_told_of_and_goes_on_elsewhere(
    nodes: Nodes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    sweep = Sweep(tmp_path, {"a": WAITS, "b": WAITS}, address=nodes.address)
    with engine_of(sweep, tell=told.append) as engine:
        for cell in sweep.plan.cells:
            engine.begin(cell)
        sweep.until_waiting("a", "b")
        nodes.kill()
        (lost,) = until_ended(engine, 1)
        assert lost.code is None
        until(lambda: sweep.states()[lost.cell.label] == "stopped")
        engine.begin(lost.cell)
        sweep.go()
        assert [one.code for one in until_ended(engine, 2)] == [0, 0]
    assert [len(sweep.attempts(label)) for label in "ab"] == ([2, 1] if lost.cell.label == "a" else [1, 2])
    sweep.made_once()
    assert capfd.readouterr() == ("", "")  # Ray prints much of a death
    assert (sweep.folder / OUTPUT).exists()
    assert [words.partition(" ")[0] for words in told] == [f"{lost.cell.label}:"]


@pytest.mark.slow
def test_leaving_stops_the_cells_after_they_wrote_what_they_have(nodes: Nodes, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, dict.fromkeys("abc", WAITS), address=nodes.address, at_once=3)
    with engine_of(sweep) as engine:
        for cell in sweep.plan.cells:
            assert engine.has_room()
            engine.begin(cell)
        assert not engine.has_room()
        until(lambda: len(sweep.waiting()) == 2)
    assert [one.code for one in engine.ended(0)] == [143] * 3
    assert sorted(code for label in "abc" for code in sweep.codes(label)) == [143, 143]  # the third was not begun
    assert at_work(sweep) == []


@pytest.mark.slow
@pytest.mark.parametrize("both", [False, True], ids=["driver", "driver and its process for Ray"])
def test_nothing_is_left_of_a_killed_driver(nodes: Nodes, tmp_path: Path, both: bool) -> None:
    sweep = Sweep(tmp_path, dict.fromkeys("ab", WAITS), address=nodes.address)
    command = [sys.executable, "-c", _DRIVER, str(sweep.folder), *FAKE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        speaker = int(driver.stdout.readline())
        sweep.until_waiting("a", "b")
        driver.kill()
        if both:
            os.kill(speaker, signal.SIGKILL)
    until(lambda: not at_work(sweep))
    until(lambda: sweep.states() == {"a": "stopped", "b": "stopped"})
    if not both:
        assert sweep.codes("a") == sweep.codes("b") == [143]


@pytest.mark.slow
def test_a_node_without_the_folder_of_the_sweep_is_said(nodes: Nodes, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"a": MAKES}, address=nodes.address)
    with engine_of(sweep) as engine:
        (cell,) = sweep.plan.cells
        (sweep.folder / PLAN_FILE).rename(sweep.folder / "elsewhere")
        engine.begin(cell)
        with pytest.raises(UserError, match=r"does not see the folder of the sweep.*file system that all nodes share"):
            until_ended(engine, 1)


@pytest.mark.slow
def test_ray_of_this_machine_alone_ends_with_the_sweep(nodes: Nodes, tmp_path: Path) -> None:
    told: list[str] = []
    sweep = Sweep(tmp_path, {"a": MAKES}, address="local", num_gpus=0)
    with engine_of(sweep, tell=told.append) as engine:
        engine.begin(sweep.plan.cells[0])
        assert [one.code for one in until_ended(engine, 1)] == [0]
    assert sweep.attempts("a")[0].gpu is None
    assert at_work(sweep) == []
    assert told == []


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "_START", 3.0)
    sweep = Sweep(tmp_path, {"a": MAKES}, address="127.0.0.1:9")
    with (
        pytest.raises(UserError, match=r"Ray at '127\.0\.0\.1:9' (does not answer|cannot be joined)"),
        engine_of(sweep),
    ):
        pass
    assert at_work(sweep) == []


def test_ray_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    monkeypatch.syspath_prepend(tmp_path)
    words = re.escape("No module named 'ray'): pip install \"fsseg-bench[ray]\"")
    with pytest.raises(UserError, match=words), engine_of(Sweep(tmp_path, {"a": MAKES})):
        pass


@pytest.mark.parametrize(
    ("table", "words"),
    [({"adress": "auto"}, "adress.*address"), ({"at_once": 0}, "at least 1"), ({"resources": {"a": "b"}}, "a number")],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_options(table)


def test_a_node_with_another_version_is_said(tmp_path: Path) -> None:
    told = task_of("0.0.0")(str(tmp_path), "a", {}, None)
    assert f"has fsseg-bench {__version__}, and this is 0.0.0" in told["wrong"]


@pytest.mark.slow
def test_true_runs_whose_node_dies_are_as_if_it_did_not(nodes: Nodes, tmp_path: Path) -> None:
    sweep = RealSweep(tmp_path, f'workers = 0\n[ray]\naddress = "{nodes.address}"\n')
    driver = sweep.command("--on", "ray")
    with sweep.held(2):
        nodes.kill()
    assert driver.wait() == 0
    cells = read_plan(sweep.folder).cells
    assert sorted(len(read_attempts(cell_folder(sweep.folder, cell))) for cell in cells) == [1, 2]
    sweep.as_undisturbed(tmp_path / "by hand")
