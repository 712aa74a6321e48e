"""Whole runs on a pretended GPU: where training and evaluation wait for it, and that their results are the CPU's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fsseg_bench.engine.cache import default_budget
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.run import RunRecord
from tests.support.pretended_backend import PretendedBackend, pretend
from tests.support.tiny_run import Watched, tiny_request, tiny_training
from tests.support.waits import Wait, watched

SLOW = pytest.mark.slow
EVERY = 20
"""Steps whose losses are read together."""


class Seen(NamedTuple):
    """A run on the device, and where it waited."""

    record: RunRecord
    steps: list[Wait]
    """Inside training steps."""
    between: list[Wait]
    """Elsewhere in the training, without what the checkpoint copies."""
    evaluation: list[Wait]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    return pretend(monkeypatch)


def run(folder: Path, device: str, progress: Watched | None = None, **changes: Any) -> RunRecord:
    request = tiny_request(folder, device=device, out=str(folder / device), **changes)
    return execute(make_plan(request), progress, Cadence(iterations=1000))


def seen(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Seen:
    """Runs on the device."""
    places: dict[str, list[Wait]] = {"step": [], "train": [], "evaluate": []}
    step, train, evaluate = Trainer.step, Trainer.run, Evaluator.run_heads

    def noted(function: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with watched() as waits:
                result = function(*args, **kwargs)
            places[name] += waits
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", noted(step, "step"))
        patch.setattr(Trainer, "run", noted(train, "train"))
        patch.setattr(Evaluator, "run_heads", noted(evaluate, "evaluate"))
        record = run(folder, "pretended", **changes)
    between = [one for one in places["train"] if one.call != "pickle"]
    return Seen(record, places["step"], between, places["evaluate"])


def files(waits: list[Wait]) -> list[tuple[str, str]]:
    """The calls with their files, without lines."""
    return [(one.call, one.line.partition(":")[0]) for one in waits]


@pytest.mark.parametrize("name", ["canet", pytest.param("baseline", marks=SLOW), pytest.param("ppnet", marks=SLOW)])
def test_training_waits_only_to_read_losses_every_few_steps(
    name: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training: dict[str, Any] = {"method": name, "iterations": EVERY + 3, "episodes": "2"}
    # with a higher rate, or statistics of two images, the rounding of sums soon shows
    training["settings"] = tiny_training(**{"recipe.lr": "0.0001", "recipe.bn": "eval"})
    there = seen(tmp_path, monkeypatch, **training)
    assert there.steps == []
    history = [("to_host", "history.py")] if name == "canet" else []  # for the checkpoint
    assert files(there.between) == [("to_host", "losses.py")] * 2 + history
    here = run(tmp_path, "cpu", **training)
    losses, expected = ([row["loss"] for row in one.training_rows()] for one in (there.record, here))
    assert len(losses) == EVERY + 3
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("chunks", "changes"),
    [
        (3, {"method": "baseline", "head_batch": 5}),
        (2, {"method": "panet", "way": 2, "shot": 2, "head_batch": 8}),
        (3, {"method": "cofcn", "head_batch": 4, "workers": 2}),
        (2, {"method": "biopt", "head_batch": 6, "scales": (0.7, 1.0, 1.3)}),
    ],
)
def test_evaluation_waits_once_a_chunk(
    chunks: int, changes: dict[str, Any], device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = seen(tmp_path, monkeypatch, **changes)
    assert files(there.evaluation) == [("to_host", "transfer.py")] * chunks
    here = run(tmp_path, "cpu", **changes)
    rows, expected = (read_lines(one.episodes_path) for one in (there.record, here))
    assert len(rows) == 12
    for row, other in zip(rows, expected, strict=True):
        assert row["classes"] == other["classes"]
        for resolution in ("input", "native"):
            moved = sum(abs(a - b) for a, b in zip(row[resolution], other[resolution], strict=True))
            assert moved <= 4, (row["episode"], resolution)  # two pixels that lie on a tie but for rounding


@pytest.mark.parametrize("memory", [0, 200_000])
def test_features_that_find_no_room_on_the_device_wait_once_more_a_chunk_at_the_most(
    memory: int, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy = seen(tmp_path / "roomy", monkeypatch, head_batch=2)
    monkeypatch.setitem(BACKENDS, device.type, PretendedBackend(memory))
    narrow = seen(tmp_path / "narrow", monkeypatch, head_batch=2)
    assert files(roomy.evaluation) == [("to_host", "transfer.py")] * 6
    assert set(files(narrow.evaluation)) == {("to_host", "transfer.py"), ("to_host", "cache.py")}
    assert len(narrow.evaluation) <= 2 * 6
    assert read_lines(roomy.record.episodes_path) == read_lines(narrow.record.episodes_path)


def test_several_heads_on_the_same_features_wait_once_a_chunk_together(device: torch.device, tmp_path: Path) -> None:
    plan = make_plan(tiny_request(tmp_path, method="panet", device="pretended", head_batch=5))
    base = InferenceModel(plan.model.to(device), device, "fp32")
    evaluator = build_evaluator(plan, base, default_budget(device))
    results: list[tuple[EpisodeResult, ...]] = []
    with watched() as waits:
        evaluator.run_heads((base, base.with_head(plan.model)), results.append)
    assert files(waits) == [("to_host", "transfer.py")] * 3
    assert len(results) == 12
    assert all(torch.equal(one.input, other.input) for one, other in results)


@SLOW
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_waits_only_where_it_must_know_whether_to_step(
    precision: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = seen(tmp_path, monkeypatch, precision=precision, iterations=4, settings=tiny_training(), episodes="4")
    # a step whose scaled gradients are not finite is left out: the scaler asks once each time
    assert set(files(there.steps)) <= {("_local_scalar_dense", "train.py")}
    assert len(there.steps) <= (4 if precision == "fp16" else 0)
    assert files(there.evaluation) == [("to_host", "transfer.py")]


@SLOW
def test_images_of_ones_own_are_segmented_as_on_the_cpu(device: torch.device, tmp_path: Path) -> None:
    folder = run(tmp_path, "cpu", method="panet", episodes="2").folder
    colours = np.random.RandomState(0).randint(0, 255, (3, 60, 50, 3)).astype(np.uint8)
    mask = np.zeros((60, 50), np.uint8)
    mask[10:30, 10:30] = 1
    found = []
    for name in ("cpu", "pretended"):
        predictor = Predictor(folder, device=name)
        predictor.set_support(colours[0], mask)
        with watched() as waits:
            found.append(list(predictor.predict_many(list(colours[1:]))))
    assert len(waits) <= 3 * 2
    for here, there in zip(*found, strict=True):
        assert np.abs(here.probability - there.probability).max() < 1e-4
        assert (here.mask != there.mask).mean() < 0.01


def test_a_loss_that_is_not_finite_is_named_by_its_step_though_it_is_read_late(
    device: torch.device, tmp_path: Path
) -> None:
    told = []
    for name in ("cpu", "pretended"):
        with pytest.raises(UserError, match="the loss is not finite") as error:
            run(tmp_path, name, iterations=30, settings=tiny_training(**{"recipe.lr": "1e12"}))
        told.append(str(error.value))
    assert told[0] == told[1]


@SLOW
def test_training_stopped_and_resumed_gives_the_same_losses(device: torch.device, tmp_path: Path) -> None:
    training: dict[str, Any] = {"method": "canet", "iterations": 8, "settings": tiny_training(), "episodes": "2"}
    whole = run(tmp_path / "a", "pretended", **training)
    request = tiny_request(tmp_path / "b", device="pretended", **training)
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(request), Watched("train", 6), Cadence(iterations=3))
    resumed = execute(make_plan(request), None, Cadence(iterations=3))
    assert resumed.training_rows() == whole.training_rows()
    assert read_lines(resumed.episodes_path) == read_lines(whole.episodes_path)
