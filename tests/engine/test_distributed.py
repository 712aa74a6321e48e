"""One training by two processes: the losses and the parameters of one process, also after one of them was killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine import run_training
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.distributed import Alone, Several, processes, share_of
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import read_lines
from tests.support.pretended_backend import pretend
from tests.support.several import run_several, torchrun
from tests.support.tiny_run import tiny_request, tiny_training

METHODS = str(Path(__file__).parents[1] / "fixtures" / "methods")
STAGED = str(Path(__file__).parents[1] / "fixtures" / "staged")
STEADY = {"recipe.bn": "eval", "recipe.batch": "3", "recipe.lr": "0.0001"}  # no step that magnifies what rounds
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"method": "panet"},
    "masks in the encoder": {"method": "cofcn", "settings": {"dropout": "0", "recipe.lr": "0.001"}},
    "all that an episode can hold": {"method": "demanding", "methods_path": METHODS, "iterations": 8},
    "batch-norms over the batch": {"method": "panet", "settings": {"recipe.bn": "train"}},
    "their statistics alone, dropout in the head": {
        "method": "pmms",
        "settings": {"recipe.bn": "stats", "dropout": "0.5", "recipe.freeze": "stem"},
    },
    "fp16": {"method": "baseline", "precision": "fp16", "settings": {"protocol.image.size": "32"}},
    "a stage before": {"method": "staged", "methods_path": STAGED, "settings": {"recipe.lr": "0.1"}},
}

ROUNDED = {"batch-norms over the batch": 5e-3, "fp16": 1e-2}
"""Where rounding is magnified: how much of what the parameters moved may differ."""


def changes(name: str) -> dict[str, Any]:
    given = RUNS[name]
    settings = tiny_training(**STEADY | given.get("settings", {}))
    return {"iterations": 5, "shot": 2, **given, "settings": settings}


def assert_equal_trainings(one: Path, two: Path, name: str) -> None:
    """Two records of the run ``name``: losses, what is remembered, and where the parameters went from their start."""
    rounded = ROUNDED.get(name, 2e-4)
    rows, others = (read_lines(folder / "train.jsonl") for folder in (one, two))
    for row, other in zip(rows, others, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=rounded / 20)
        assert other["parts"] == pytest.approx(row["parts"], rel=rounded / 20)
        assert {**other, "loss": 0, "parts": 0} == {**row, "loss": 0, "parts": 0}
    state, its = load_state(one / "checkpoint.pt"), load_state(two / "checkpoint.pt")
    assert state.iteration == its.iteration
    assert list(state.history) == list(its.history)
    start = make_plan(tiny_request(one.parents[4], **changes(name))).model
    moved = [value - start.state_dict()[key] for key, value in state.model.items() if value.is_floating_point()]
    apart = [value - its.model[key] for key, value in state.model.items() if value.is_floating_point()]
    assert _norm(moved) > 1e-3
    assert _norm(apart) < rounded * _norm(moved)


def _norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.cat([tensor.double().flatten() for tensor in tensors]).norm())


@pytest.mark.parametrize(("batch", "size"), [(3, 2), (8, 3), (4, 4), (1, 1)])
def test_shares_are_neighbours_and_make_up_the_batch(batch: int, size: int) -> None:
    shares = [share_of(batch, rank, size) for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_torchrun_there_is_one_process() -> None:
    assert type(processes()) is Alone
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The record of each run by one process and by two."""
    folder = tmp_path_factory.mktemp("several")
    one = {name: execute(make_plan(tiny_request(folder, out=str(folder / "1"), **changes(name)))) for name in RUNS}
    ended = run_several(folder, [{**changes(name), "out": str(folder / "2")} for name in RUNS])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    found = {name: record.folder for name, record in one.items()}
    return {name: (path, folder / "2" / path.relative_to(folder / "1")) for name, path in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one_does(name: str, both: dict[str, tuple[Path, Path]]) -> None:
    one, two = both[name]
    assert_equal_trainings(one, two, name)
    infos = [json.loads((folder / "run.json").read_text()) for folder in (one, two)]
    assert [info["status"] for info in infos] == ["done", "done"]
    assert [info["provenance"].get("processes") for info in infos] == [None, 2]
    assert infos[0]["identity"] == infos[1]["identity"]
    assert len(read_lines(two / "episodes.jsonl")) == 12


@pytest.mark.slow
def test_a_stage_is_trained_once_and_given_to_both_processes(both: dict[str, tuple[Path, Path]]) -> None:
    one, two = both["a stage before"]
    facts = [json.loads((folder / "run.json").read_text())["stages"]["base"] for folder in (one, two)]
    assert [found["trained"] for found in facts] == ["here", "here"]
    stages = [Path(found["folder"]) for found in facts]
    assert stages[0].relative_to(one.parents[3]) == stages[1].relative_to(two.parents[3])
    rows, others = (read_lines(folder / "train.jsonl") for folder in stages)
    assert len(rows) == 4
    for row, other in zip(rows, others, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-5)
    bases = [load_state(folder / "checkpoint.pt").model for folder in stages]
    apart = [value - bases[1][key] for key, value in bases[0].items() if value.is_floating_point()]
    assert _norm(apart) < 1e-5 * _norm([value for value in bases[0].values() if value.is_floating_point()])
    states = [load_state(folder / "checkpoint.pt").model for folder in (one, two)]
    for state, base in zip(states, bases, strict=True):  # all but the bias stays as the stage left it
        assert torch.equal(state["classifier.weight"], base["classifier.weight"])
    assert abs(float(states[0]["bias"])) > 1e-3
    assert float(states[1]["bias"]) == pytest.approx(float(states[0]["bias"]), rel=1e-4)


@pytest.mark.slow
def test_one_that_is_killed_ends_all_and_one_process_goes_on(
    both: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    name = "all that an episode can hold"
    whole, _ = both[name]
    request = tiny_request(tmp_path, out=str(tmp_path / "runs"), **changes(name))
    ended = run_several(tmp_path, [{**changes(name), "out": str(tmp_path / "runs")}], signal_at=5)
    assert ended.returncode != 0
    (path,) = tmp_path.rglob("checkpoint.pt")
    assert load_state(path).iteration == 4
    record = execute(make_plan(request))
    assert record.info.resumed[-1]["changed"] == ["processes: 2 / not set"]
    assert_equal_trainings(whole, record.folder, name)


@pytest.mark.slow
def test_one_that_is_told_to_end_ends_all_after_a_checkpoint(
    both: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """It hears of it at the begin of the fifth step, after which no checkpoint is due."""
    name = "all that an episode can hold"
    _, whole = both[name]
    asked = [{**changes(name), "out": str(tmp_path / "runs")}]
    ended = run_several(tmp_path, asked, signal_at=4, number=signal.SIGUSR1)
    assert ended.returncode != 0
    assert sorted(ended.stdout.split("\n")) == ["", "process 0 is stopped", "process 1 is stopped"], ended.stderr
    (folder,) = (path.parent for path in tmp_path.rglob("train.jsonl"))
    assert json.loads((folder / "run.json").read_text())["status"] == "training"
    assert len(read_lines(folder / "train.jsonl")) == load_state(folder / "checkpoint.pt").iteration == 5
    assert run_several(tmp_path, asked).returncode == 0
    assert [(folder / file).read_bytes() for file in ("train.jsonl", "episodes.jsonl")] == [
        (whole / file).read_bytes() for file in ("train.jsonl", "episodes.jsonl")
    ]
    assert_equal_trainings(whole, folder, name)


@pytest.mark.slow
def test_the_command_line_prints_one_table(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    words = ["run", "--method", "baseline", "--dataset", request.dataset, "--fold", "1", "--iterations", "2"]
    words += ["--backbone", "resnet18-layer2", "--weights", "none", "--set", "recipe.batch=2"]
    ended = torchrun(["-m", "fsseg_bench", *words, "--out", str(tmp_path / "runs")])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("| baseline ") == 1
    assert ended.stdout.count("record: ") == 1
    assert ended.stderr.count("mean IoU") == 1


def _process(rank: int, size: int) -> Several:
    """One of several processes that has not met the others."""
    process = Several.__new__(Several)
    process.rank, process.size, process._local = rank, size, rank
    process._device = torch.device("cpu")
    process._tensors = None
    return process


def test_shares_draw_different_numbers_and_the_loss_the_same() -> None:
    drawn = []
    for rank in range(2):
        with _process(rank, 2).encoding(torch.nn.Identity(), 7):
            inside = torch.rand(1 + rank)
        drawn.append((inside[0], torch.rand(3)))
    assert drawn[0][0] != drawn[1][0]
    assert torch.equal(drawn[0][1], drawn[1][1])
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), drawn[0][1])


@pytest.mark.parametrize("here", [True, False])
def test_a_batch_of_fewer_episodes_than_processes(here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when runs are planned, also by a dry run, and not only when the one before is done."""
    request = tiny_request(tmp_path, iterations=2, settings=tiny_training(**STEADY))
    monkeypatch.setattr("fsseg_bench.engine.distributed.processes", lambda: _process(0, 4))
    told = r"batch is 3, and torchrun started 4 processes.*--nproc-per-node 3 at most"
    with pytest.raises(UserError, match=told):
        plan_all([request], {}, here=here)
    with pytest.raises(UserError, match=told):
        execute(make_plan(request))
    assert len(plan_all([tiny_request(tmp_path, iterations=0)], {}, here=here).runs) == 1


def test_processes_of_one_machine_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = pretend(monkeypatch)
    plan = make_plan(tiny_request(tmp_path, iterations=2, workers=None, settings=tiny_training(**STEADY)))
    process = _process(0, 2)
    monkeypatch.setattr("fsseg_bench.machine.share.usable_cores", lambda: 6)
    assert run_training.trainer_of(plan, device, Cadence()).workers == 6
    monkeypatch.setattr(run_training, "processes", lambda: process)
    process.local_size = 2
    assert run_training.trainer_of(plan, device, Cadence()).workers == 3


def test_a_later_run_meets_no_one_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new group waits ten minutes for all, and the first process may evaluate for longer."""
    made: list[str] = []
    monkeypatch.setattr(BACKENDS["cuda"], "count", lambda: 2)
    monkeypatch.setattr(BACKENDS["cuda"], "choose", lambda device: None)
    monkeypatch.setattr(torch.distributed, "new_group", lambda backend: made.append(backend))
    process = _process(1, 2)
    assert [process.device(torch.device(name)) for name in ("cuda", "cuda", "cpu")] == [
        torch.device("cuda:1"),
        torch.device("cuda:1"),
        torch.device("cpu"),
    ]
    assert made == ["nccl"]


@pytest.mark.parametrize(("device", "there"), [("cuda", 1), ("cuda:0", 8)])
def test_each_process_needs_a_gpu_of_its_own(device: str, there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS["cuda"], "count", lambda: there)
    with pytest.raises(UserError, match=f"2 processes of torchrun, and --device {device}: each needs a GPU of its own"):
        _process(1, 2).device(torch.device(device))
