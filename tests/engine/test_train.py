"""The constant predictor's loss beside a training's: counted again from the episodes, and the same after a stop."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.run_training import training_episodes
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import run_folder
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.request import RunRequest
from tests.support.networks import fold_by_hand, random_backbone
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training


def _entropy(counts: list[int]) -> float:
    shares = [n / sum(counts) for n in counts if n]
    return -sum(p * math.log(p) for p in shares)


def _recounted(request: RunRequest) -> list[list[int]]:
    """Pixels of each label in each step's queries, one by one, from a stream of episodes opened anew."""
    plan = make_plan(request)
    stream = training_episodes(plan)
    steps = []
    for step in range(plan.recipe.iterations):
        counts = [0] * (request.way + 1)
        for i in range(step * plan.recipe.batch, (step + 1) * plan.recipe.batch):
            for value in stream[i].query_label.flatten().tolist():
                if value != 255:
                    counts[value] += 1
        steps.append(counts)
    return steps


@pytest.mark.parametrize("way", [1, 2])
def test_labels_and_entropy_of_each_step(way: int, tmp_path: Path) -> None:
    request = tiny_request(tmp_path, way=way, iterations=3, settings=tiny_training())
    progress = Watched()
    folder = execute(make_plan(request), progress).folder
    expected = _recounted(request)
    rows = read_lines(folder / "train.jsonl")
    assert [row["labels"] for row in rows] == expected
    assert all(len(counts) == way + 1 for counts in expected)
    assert [row["constant"] for row in rows] == pytest.approx([_entropy(counts) for counts in expected])
    for row, note in zip(rows, progress.notes["train"], strict=True):
        assert note.startswith(f"loss {row['loss']:.4f} (constant predictor {row['constant']:.4f}), ")
    training = json.loads((folder / "run.json").read_text())["training"]
    pooled = [sum(column) for column in zip(*expected, strict=True)]
    assert training["constant_predictor"] == pytest.approx(_entropy(pooled))
    assert (training["steps"], training["loss"]) == (3, pytest.approx(sum(row["loss"] for row in rows) / 3))


def test_a_sum_of_losses_has_no_such_reference_beside_it(tmp_path: Path) -> None:
    progress = Watched()
    request = tiny_request(tmp_path, method="panet", iterations=1, settings=tiny_training())
    folder = execute(make_plan(request), progress).folder
    assert "constant" not in progress.notes["train"][0]
    assert read_lines(folder / "train.jsonl")[0]["constant"] > 0  # kept all the same


def test_a_stop_changes_none_of_it(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=5, settings=tiny_training())
    whole = finish(request)
    stopped = replace(request, out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(stopped), Watched("train", 3), Cadence(iterations=2))
    resumed = finish(stopped)
    assert (resumed / "train.jsonl").read_text() == (whole / "train.jsonl").read_text()
    summaries = [json.loads((folder / "run.json").read_text())["training"] for folder in (whole, resumed)]
    assert summaries[0] == summaries[1]


def test_frozen_random_stages_are_named(tmp_path: Path) -> None:
    progress = Watched()
    settings = tiny_training(**{"recipe.freeze": "layer1"})
    execute(make_plan(tiny_request(tmp_path, iterations=1, settings=settings)), progress)
    assert progress.said == ["recipe.freeze=layer1 holds random numbers: the weights are none"]


def test_an_untrained_run_says_nothing_of_losses(tmp_path: Path) -> None:
    folder = finish(tiny_request(tmp_path))
    assert "training" not in json.loads((folder / "run.json").read_text())


def test_folded_weights_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    torch.save(fold_by_hand(random_backbone("resnet18-layer2")).state_dict(), tmp_path / "folded.pth")
    base = tiny_request(tmp_path, weights=str(tmp_path / "folded.pth"))
    with pytest.raises(UserError, match=r"recipe\.bn=train \(set by the user\).* --set recipe\.bn=eval"):
        make_plan(replace(base, iterations=2, settings=tiny_training()))
    with pytest.raises(UserError, match=r"recipe\.bn=stats \(the method's recipe\)"):
        make_plan(replace(base, method="canet", iterations=2))
    assert not (tmp_path / "runs").exists()
    trained = finish(replace(base, iterations=2, settings=tiny_training(**{"recipe.bn": "eval"})))
    for untrained in (
        base,
        replace(base, method="canet"),
        replace(base, iterations=None, weights=None, eval_only=str(trained)),
    ):
        make_plan(untrained)


@pytest.mark.parametrize(("every", "iteration"), [(0.0, 2), (1e6, None)])
def test_checkpoints_are_as_often_as_asked_for(tmp_path: Path, every: float, iteration: int | None) -> None:
    """Of a training that is killed in its third step."""
    request = tiny_request(tmp_path, iterations=4, settings=tiny_training(), checkpoint_every=every)
    plan = make_plan(request)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Watched("train", 3))
    file = run_folder(tmp_path / "runs", plan.settings) / "checkpoint.pt"
    assert (load_state(file).iteration if file.exists() else None) == iteration
    whole = make_plan(tiny_request(tmp_path, iterations=4, settings=tiny_training()))
    assert whole.settings.identity == plan.settings.identity


@pytest.mark.parametrize("every", [-1.0, float("nan")])
def test_checkpoints_cannot_be_more_often_than_steps(tmp_path: Path, every: float) -> None:
    with pytest.raises(UserError, match="--checkpoint-every is "):
        make_plan(tiny_request(tmp_path, checkpoint_every=every))
