"""Estimates of time and memory: what is counted, and that measuring leaves everything as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.data.source import Source
from fsseg_bench.engine import estimate
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.estimate import Speed, different_images, measure
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.made_up_data import MadeUpSource
from fsseg_bench.engine.outline import outline
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.request import RunRequest
from tests.support.tiny_run import finish, tiny_request, tiny_training

CPU = torch.device("cpu")
SPEED = Speed(
    step=2.0, step_episodes=4, encode=0.5, episode=0.1, images=3, image_bytes=10, peak_bytes=1000, cache_bytes=200
)


def test_time_and_memory_by_hand() -> None:
    assert SPEED.evaluation(100, 20) == pytest.approx(0.1 + 0.5 * 20 / 100)
    assert SPEED.evaluation(100, None) == pytest.approx(0.1 + 0.5 * 3)
    assert SPEED.evaluation(100, 21) == pytest.approx(0.1 + 0.5 * 3)  # 210 bytes are more than are kept
    assert SPEED.evaluation(0, 0) == 0
    assert SPEED.memory(100, 7) == 1070
    assert SPEED.memory(100, None) == 1200


def test_images_are_counted_as_the_evaluation_encodes_them(tmp_path: Path) -> None:
    for scales in ((1.0,), (0.5, 1.0)):
        plan = make_plan(tiny_request(tmp_path, scales=scales, shot=2))
        model = InferenceModel(plan.model, CPU, "fp32")
        evaluator = build_evaluator(plan, model, Budget(2**40, 2**40))
        evaluator.run(lambda _: None)
        counted = different_images(plan.table, plan.further, scales, masked=False)
        assert counted == evaluator.timings["evaluate_encoded_images"]


def test_a_support_with_its_mask_counts_for_each_class() -> None:
    table = EpisodeTable(((1,), (2,), (1,)), ("a", "b", "c"), ((("x",),), (("x",),), (("a",),)))
    assert different_images(table, (), (1.0,), masked=False) == 4  # a, b, c, x
    assert different_images(table, (), (1.0,), masked=True) == 6  # a, b, c; x of 1, x of 2, a of 1
    assert different_images(table, ((("u", "v"),),) * 3, (1.0,), masked=False) == 6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["baseline", "ppnet-ud", "fwb", "rpmms", "canet", "oslsm"])
def test_methods_of_every_kind_are_measured(method: str) -> None:
    """Class labels, images without masks, a history, masks that enter the encoder."""
    request = RunRequest(method, "shapes5i", weights="none", settings={"recipe.batch": "1"})
    found = outline(request)
    model, _ = found.built(len(found.protocol.base_classes(1)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    speed = measure(model, request, found.protocol, found.recipe, CPU)
    assert speed.step > 0 and speed.encode > 0 and speed.episode > 0
    assert speed.images == 2 + model.unlabelled_images
    assert speed.image_bytes > 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.backbone.training


def test_the_size_of_features_is_that_of_the_cache(tmp_path: Path) -> None:
    plan = make_plan(tiny_request(tmp_path))
    speed = measure(plan.model, plan.request, plan.protocol, plan.recipe, CPU)
    assert speed.step == 0  # nothing is trained
    cache = FeatureCache(CPU, Budget(0, 2**40))
    evaluator = build_evaluator(plan, InferenceModel(plan.model, CPU, "fp32"), Budget(0, 2**40))
    evaluator.cache = cache
    evaluator.__post_init__()
    evaluator.run(lambda _: None)
    assert cache.used == cache.count * speed.image_bytes


def test_a_run_that_was_measured_counts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.engine.batch._WORTH_MEASURING", 1)
    request = tiny_request(tmp_path, iterations=3, settings=tiny_training())
    told: list[str] = []
    logs = []
    for name, measuring in (("plain", None), ("measured", told.append)):
        (run,) = plan_all([replace(request, out=str(tmp_path / name))], {}, measuring=measuring).runs
        assert (run.speed is None) == (measuring is None)
        folder = execute(run.plan({})).folder
        lines = (folder / "train.jsonl").read_text() + (folder / "episodes.jsonl").read_text()
        logs.append([{k: v for k, v in json.loads(line).items() if k != "check"} for line in lines.splitlines()])
    assert told == ["baseline"]
    assert logs[0] == logs[1]


def test_what_cannot_be_measured_is_said_and_run_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.engine.batch._WORTH_MEASURING", 1)

    def fails(*_: object) -> Speed:
        raise RuntimeError("made-up images are too small")

    monkeypatch.setattr("fsseg_bench.engine.batch.measure", fails)
    batch = plan_all([tiny_request(tmp_path)], {}, measuring=lambda _: None)
    assert batch.runs[0].speed is None
    assert "baseline: no estimate of its time (made-up images are too small)" in batch.notes


def test_what_was_measured_holds_for_all_runs_of_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which little is left is not worth a measurement, and has that of a longer one."""
    monkeypatch.setattr("fsseg_bench.engine.batch.measure", lambda *_: SPEED)
    monkeypatch.setattr("fsseg_bench.engine.batch._WORTH_MEASURING", 10)
    request = tiny_request(tmp_path)
    finish(request)
    told: list[str] = []
    requests = [request, replace(request, fold=2), replace(request, fold=3), replace(request, fold=2, shot=2)]
    batch = plan_all(requests, {}, measuring=told.append)
    assert told == ["baseline", "baseline"]
    assert [run.speed for run in batch.runs] == [SPEED] * 4
    assert [dict(run.left.steps) for run in batch.runs][:2] == [{}, {"evaluate": 12}]


def test_made_up_images_have_the_pixels_of_the_input_and_every_class() -> None:
    source: Source = MadeUpSource(("a", "b", "c"), 417)
    width, height = source.image_size("x")
    assert source.image("x").shape == (height, width, 3)
    assert width * height == pytest.approx(417**2, rel=0.01)
    masks = source.class_masks("x", (3, 1))
    assert masks.shape == (2, height, width)
    assert (masks.sum(axis=(1, 2)) > 0).all()
    assert not (masks[0] & masks[1]).any()


def test_the_first_step_never_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now)
    watch = estimate._Watch()
    while watch.goes_on:
        now += 0.5
        watch.add(step=float(watch.steps))
    assert (watch.steps, watch.mean("step")) == (4, 2.0)  # 1, 2, 3
    watch = estimate._Watch()
    while watch.goes_on:
        now += 9
        watch.add(step=90.0 if not watch.steps else 9.0)
    assert (watch.steps, watch.mean("step")) == (2, 9.0)


def test_a_training_step_is_measured_on_as_many_episodes_as_are_cheap() -> None:
    recipe = outline(RunRequest("baseline", "shapes5i", weights="none")).recipe
    for batch, encode, expected in ((4, 0.001, 4), (8, 0.2, 3), (8, 9.0, 2), (1, 9.0, 1)):
        assert estimate._affordable(replace(recipe, batch=batch), 2, encode) == expected
