"""Losses that are read late: the same log as when each is read at once, and never a checkpoint of what came after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.device import BACKENDS, Backend
from fsseg_bench.engine.losses import StepLosses, read
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import _GPU_READS_EVERY, Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import read_lines
from tests.support.tiny_run import Watched, tiny_request, tiny_training

CPU = torch.device("cpu")
NEVER = Cadence(seconds=1e9)


class Late(Backend):
    """A GPU as far as the engine knows, and how often the host waited for it."""

    is_gpu = True

    def __init__(self) -> None:
        self.waits = 0

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        copy = tensor.clone()

        def wait() -> Tensor:
            self.waits += 1
            return copy

        return wait


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """A plan of a short training; ``bad`` is the step at which its loss is not a number, or which raises."""

    def made(out: str, iterations: int, bad: int | None = None, broken: int | None = None) -> Plan:
        settings = tiny_training(**{"recipe.batch": "1", "recipe.bn": "eval"})
        request = tiny_request(tmp_path, iterations=iterations, settings=settings, seed=3)
        found = make_plan(replace(request, out=str(tmp_path / out)))
        loss, step = found.model.loss, -1

        def changed(episode: Any) -> dict[str, Tensor]:
            nonlocal step
            step += 1
            if step == broken:
                raise IndexError("out of range")
            parts = loss(episode)
            return {name: value * (float("nan") if step == bad else 1) for name, value in parts.items()}

        model: Any = found.model
        model.loss = changed
        return found

    return made


def checkpoint(folder: Path) -> Path:
    (path,) = folder.rglob("checkpoint.pt")
    return path


def test_same_log_and_parameters_with_one_wait_every_so_many_steps(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 2 * _GPU_READS_EVERY + 3
    progress = Watched(), Watched()
    expected = execute(plan("now", steps), progress[0], NEVER)
    gpu = Late()
    waits: list[int] = []
    monkeypatch.setitem(BACKENDS, "cpu", gpu)
    monkeypatch.setattr("fsseg_bench.engine.run.evaluate", lambda *_: waits.append(gpu.waits) or {})
    late = execute(plan("late", steps), progress[1], NEVER)
    assert waits == [3]
    assert late.train_path.read_bytes() == expected.train_path.read_bytes()
    assert len(read_lines(late.train_path)) == steps
    assert len(progress[0].notes["train"]) == len(progress[1].notes["train"]) == steps
    one, other = load_state(expected.checkpoint), load_state(late.checkpoint)
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())


@pytest.mark.parametrize("gpu", [False, True])
def test_the_failing_step_is_named_and_nothing_after_it_is_kept(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gpu: bool
) -> None:
    good = execute(plan("good", 21), cadence=NEVER)
    if gpu:
        monkeypatch.setitem(BACKENDS, "cpu", Late())
    with pytest.raises(UserError, match=r"stopped at iteration 24: the loss is not finite \(query nan\)\. The last"):
        execute(plan("bad", 60, bad=24), cadence=Cadence(1e9, iterations=7))
    path = checkpoint(tmp_path / "bad")
    state = load_state(path)
    assert state.iteration == 21
    rows = read_lines(path.parent / "train.jsonl")
    assert [row["iteration"] for row in rows] == list(range(24))
    assert rows[:21] == read_lines(good.train_path)
    assert all(torch.equal(value, state.model[name]) for name, value in load_state(good.checkpoint).model.items())


def test_an_error_that_may_follow_from_a_bad_loss_tells_the_loss(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", Late())
    with pytest.raises(UserError, match="stopped at iteration 4: the loss is not finite"):
        execute(plan("bad", 30, bad=4, broken=6), cadence=NEVER)
    with pytest.raises(IndexError, match="out of range"):
        execute(plan("broken", 30, broken=6), cadence=NEVER)
    assert not list(tmp_path.rglob("checkpoint.pt"))


def losses(iteration: int, *values: float) -> StepLosses:
    names = tuple("abc"[: len(values)])
    return StepLosses(iteration, 0.1, names, torch.tensor([*values, sum(values)], dtype=torch.float64), [3, 1], 2)


def test_steps_with_different_parts() -> None:
    rows = [row for _, row in read([losses(7, 0.1), losses(8, 0.2, 0.3)], CPU)]
    assert [row["parts"] for row in rows] == [{"a": 0.1}, {"a": 0.2, "b": 0.3}]
    assert [(row["iteration"], row["loss"]) for row in rows] == [(7, 0.1), (8, 0.5)]
    assert not list(read([], CPU))


def test_parts_that_cancel_to_no_number() -> None:
    given = read([losses(7, 0.1), losses(8, float("inf"), float("-inf"))], CPU)
    assert next(given)[1]["loss"] == 0.1
    with pytest.raises(UserError, match=r"iteration 8: the loss is not finite \(a inf, b -inf\)"):
        next(given)
