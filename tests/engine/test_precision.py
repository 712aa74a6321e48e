"""Training in fp16: scaled losses, skipped steps, the same result after a stop; TF32 and what cannot be repeated."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.checkpoint import load_state, save_state
from fsseg_bench.engine.device import BACKENDS, Backend, deterministic_algorithms
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import CheckpointTraining, settings_shown
from fsseg_bench.report.words import always
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training

SCALE = 2.0**16


def request(folder: Path, **changes: Any) -> RunRequest:
    values = {"method": "baseline", "iterations": 6, "precision": "fp16", "settings": tiny_training(), **changes}
    values["settings"] = {"protocol.image.size": "32", **values["settings"]}  # most processors are slow in fp16
    return tiny_request(folder, **values)


def overflowing(plan: Plan, *steps: int) -> Plan:
    """The plan, in whose training a gradient is infinite at some steps."""
    parameter = next(p for p in plan.model.parameters() if p.requires_grad)
    calls = -1

    def hook(gradient: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return gradient * float("inf") if calls in steps else gradient

    parameter.register_hook(hook)
    return plan


def test_losses_are_those_of_fp32_to_its_rounding(tmp_path: Path) -> None:
    settings = tiny_training(**{"recipe.lr": "0.001", "recipe.bn": "eval"})
    full, half = (
        read_lines(finish(request(tmp_path, precision=name, settings=settings)) / "train.jsonl")
        for name in ("fp32", "fp16")
    )
    assert [row["loss"] for row in half] == pytest.approx([row["loss"] for row in full], rel=1e-2)
    assert [row["loss"] for row in half] != [row["loss"] for row in full]
    assert full[0].keys() == half[0].keys()


def test_a_stop_changes_neither_parameters_nor_scale(tmp_path: Path) -> None:
    whole = execute(overflowing(make_plan(request(tmp_path)), 1))
    stopped = request(tmp_path, out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        execute(overflowing(make_plan(stopped), 1), Watched("train", 4), Cadence(iterations=3))
    (path,) = (tmp_path / "stopped").rglob("checkpoint.pt")
    assert load_state(path).scaler["scale"] == SCALE / 2
    assert load_state(path).scaler["_growth_tracker"] == 1
    resumed = execute(make_plan(stopped))
    one, other = load_state(whole.checkpoint), load_state(resumed.checkpoint)
    assert one.scaler == other.scaler
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())
    assert whole.train_path.read_text() == resumed.train_path.read_text()


def test_a_stop_after_skipped_steps_alone(tmp_path: Path) -> None:
    whole = execute(overflowing(make_plan(request(tmp_path)), 0, 1))
    stopped = request(tmp_path, out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        execute(overflowing(make_plan(stopped), 0, 1), Watched("train", 3), Cadence(iterations=2))
    (path,) = (tmp_path / "stopped").rglob("checkpoint.pt")
    assert (load_state(path).iteration, load_state(path).optimizer["state"]) == (2, {})
    resumed = execute(make_plan(stopped))
    one, other = load_state(whole.checkpoint), load_state(resumed.checkpoint)
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())


def test_a_step_whose_gradient_overflows_is_skipped_counted_and_said(tmp_path: Path) -> None:
    states: list[dict[str, Tensor]] = []
    for steps in (2, 3):
        out = request(tmp_path, iterations=3, out=str(tmp_path / str(steps)))
        with pytest.raises(KeyboardInterrupt):
            execute(overflowing(make_plan(out), 2), Watched("train", steps), Cadence(iterations=steps - 1))
    record = execute(overflowing(make_plan(request(tmp_path, iterations=3)), 2))
    rows = read_lines(record.train_path)
    assert [row.get("skipped") for row in rows] == [None, None, True]
    for folder in (tmp_path / "3", record.folder):
        (path,) = folder.rglob("checkpoint.pt")
        states.append(load_state(path).model)
    assert load_state(record.checkpoint).iteration == 3
    trained = [name for name, _ in make_plan(request(tmp_path)).model.named_parameters()]
    assert all(torch.equal(states[0][name], states[1][name]) for name in trained)
    training = json.loads((record.folder / "run.json").read_text())["training"]
    assert training["skipped"] == 1
    assert str(record.info.training).endswith("; 1 steps skipped, gradients overflowed in fp16")


def test_gradients_that_no_scale_helps_end_the_training(tmp_path: Path) -> None:
    plan = overflowing(make_plan(request(tmp_path, iterations=60)), *range(3, 60))
    with pytest.raises(UserError, match=r"stopped at iteration 29: gradients are not finite in fp16 even of losses"):
        execute(plan, cadence=Cadence(iterations=3))
    (path,) = tmp_path.rglob("checkpoint.pt")
    assert load_state(path).iteration == 27


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan"), "1", 1])
def test_a_scale_that_no_training_leaves(scale: Any, tmp_path: Path) -> None:
    _refused(tmp_path, {"scale": scale})


@pytest.mark.parametrize("change", [{"_growth_tracker": 1.5}, {"growth_factor": 3.0}, {"more": 1}])
def test_a_scaler_that_no_training_leaves(change: dict[str, Any], tmp_path: Path) -> None:
    _refused(tmp_path, change)


def _refused(folder: Path, change: dict[str, Any]) -> None:
    stopped = request(folder)
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(stopped), Watched("train", 3), Cadence(iterations=1))
    (path,) = folder.rglob("checkpoint.pt")
    state = load_state(path)
    save_state(path, replace(state, scaler={**state.scaler, **change}))
    with pytest.raises(UserError, match=r"checkpoint\.pt: its 'scaler' is nothing that"):
        execute(make_plan(stopped))


def test_a_checkpoint_without_its_scaler(tmp_path: Path) -> None:
    for precision, scaler in (("fp16", {}), ("fp32", {"scale": SCALE})):
        stopped = request(tmp_path / precision, precision=precision)
        with pytest.raises(KeyboardInterrupt):
            execute(make_plan(stopped), Watched("train", 3), Cadence(iterations=1))
        (path,) = (tmp_path / precision).rglob("checkpoint.pt")
        save_state(path, replace(load_state(path), scaler=scaler))
        with pytest.raises(UserError, match="its 'scaler' is nothing that a training of this precision leaves"):
            execute(make_plan(stopped))


def test_checkpoints_of_other_precisions_have_no_scaler(tmp_path: Path) -> None:
    folder = finish(request(tmp_path, precision="fp32", iterations=1))
    assert "scaler" not in torch.load(folder / "checkpoint.pt", weights_only=True)


def test_tf32_on_a_cpu_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wanted = request(tmp_path, precision="tf32")
    with pytest.raises(UserError, match="--precision tf32"):
        execute(make_plan(wanted))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="--precision tf32: NVIDIA's GPUs have it from Ampere on"):
        plan_all([wanted], {})


def test_nondeterministic_is_a_run_of_its_own_and_the_default_is_not_written(tmp_path: Path) -> None:
    usual, free = (make_plan(request(tmp_path, nondeterministic=free)).settings for free in (False, True))
    assert "nondeterministic" not in usual.to_json()
    assert free.to_json() == {**usual.to_json(), "nondeterministic": True}
    assert usual.identity != free.identity
    assert "nondeterministic" not in always(settings_shown(usual, None))
    assert "nondeterministic" in always(settings_shown(free, None))
    for then, now, told in ((free, usual, "=true"), (usual, free, "=false"), (usual, usual, None), (free, free, None)):
        evaluated = replace(now, checkpoint_digest="0" * 64, recipe={})
        trained = CheckpointTraining("checkpoint.pt", identity=then.identity, settings=then, stored={})
        words = always(settings_shown(evaluated, trained))
        assert [word for word in words if "trained with" in word] == (
            [] if told is None else [f"trained with nondeterministic{told}"]
        )
    with pytest.raises(UserError, match="--nondeterministic is for GPUs"):
        execute(make_plan(request(tmp_path, nondeterministic=True)))
    assert not (tmp_path / "runs").exists()


class Guarded(Backend):
    """A GPU as far as the engine knows, with the guard of one."""

    is_gpu = True

    def exact(self, *, tf32: bool, deterministic: bool) -> AbstractContextManager[object]:
        return deterministic_algorithms() if deterministic else nullcontext()


@pytest.mark.parametrize("free", [False, True])
def test_a_method_that_cannot_be_repeated_is_told_so(
    free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", Guarded())
    plan = make_plan(request(tmp_path, precision="fp32", nondeterministic=free))
    loss: Any = plan.model.loss

    def written(episode: Any) -> dict[str, Tensor]:
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        return loss(episode)

    model: Any = plan.model
    model.loss = written
    if free:
        assert execute(plan).status == "done"
        return
    with pytest.raises(UserError, match="put_ has no deterministic form"):
        execute(plan)
    (path,) = tmp_path.rglob("run.json")
    assert "--nondeterministic" in json.loads(path.read_text())["reason"]
