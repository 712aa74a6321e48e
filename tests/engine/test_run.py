"""Whole runs: counts that depend on nothing but the run, resuming, and everything a user can get wrong."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.run_device import default_workers
from fsseg_bench.engine.train import Cadence
from fsseg_bench.engine.verify import verify
from fsseg_bench.errors import UserError
from fsseg_bench.machine.share import Share
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.info import run_folder
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.predictions import counted, stored_predictions
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from tests.support.beside import Beside
from tests.support.runs import edit_info
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training

EVERY_STEP = Cadence(iterations=1)


def counts(folder: Path) -> list[tuple[Any, ...]]:
    rows = read_lines(folder / "episodes.jsonl")
    return [(row["episode"], row["classes"], row["input"], row["native"]) for row in rows]


def test_a_run_leaves_its_record(tmp_path: Path) -> None:
    folder = finish(tiny_request(tmp_path, panels=3))
    info = json.loads((folder / "run.json").read_text())
    assert info["status"] == "done"
    assert info["passed"]["method"] == "baseline"
    assert [row["episode"] for row in read_lines(folder / "episodes.jsonl")] == list(range(12))
    assert {"evaluate_seconds", "evaluate_encoded_images"} <= info["timings"].keys()
    captions = json.loads((folder / "panels" / "panels.json").read_text())
    assert len(captions) == 3
    assert [c["iou"] for c in captions] == sorted(c["iou"] for c in captions)  # worst first
    assert all((folder / "panels" / c["file"]).stat().st_size > 0 for c in captions)


@pytest.mark.parametrize("way", [1, 2])
def test_stored_predictions_have_the_recorded_counts(tmp_path: Path, way: int) -> None:
    plan = make_plan(tiny_request(tmp_path, way=way))
    run = read_run(execute(plan).folder)
    assert "predictions.jsonl" in run.info.files
    found = stored_predictions(run, range(12))
    assert found is not None
    for i, labels in found.items():
        truth = query_label(plan.source, plan.table.queries[i], plan.table.classes[i], plan.protocol.image.size)
        assert np.array_equal(counted(labels, truth, way), run.counts().input[i])


def test_each_distinct_image_is_encoded_once(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    table = make_plan(request).table
    images = {*table.queries, *(i for ways in table.supports for way in ways for i in way)}
    info = json.loads((finish(request) / "run.json").read_text())
    assert info["timings"]["evaluate_encoded_images"] == len(images) < 2 * len(table)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "way"), [("baseline", 1), ("panet", 1), ("inopt-dagger", 1), ("biopt", 2)])
def test_counts_do_not_depend_on_cache_workers_or_head_batch(tmp_path: Path, method: str, way: int) -> None:
    base = tiny_request(tmp_path, method=method, way=way, shot=2)
    expected = counts(finish(base))
    assert sum(row[2][way + 2] for row in expected) > 0  # there are true positives to compare
    variants = [{"cache_gib": 0.0}, {"cache_gib": 2e-4}, {"workers": 3}, {"head_batch": 3}, {"head_batch": 8}]
    for variant in variants:
        found = counts(finish(replace(base, fresh=True, **variant)))
        assert found == expected, variant


def test_a_gpu_goes_on_with_the_head_batch_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less memory is free when the run is resumed; its chunks are those of a run in one go all the same."""
    backend = Beside()
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    together: list[tuple[int, ...]] = []
    whole = InferenceModel.predict
    monkeypatch.setattr(
        InferenceModel, "predict", lambda self, episode: together.append(episode.seeds) or whole(self, episode)
    )
    request = tiny_request(tmp_path)
    backend.free = 20 * 5 * 2 * (64 // 8) ** 2 * 128 * 4  # five episodes of two features; four are taken
    expected = counts(finish(replace(request, out=str(tmp_path / "whole"))))
    chunks = together.copy()
    assert [len(chunk) for chunk in chunks] == [4, 4, 4]
    together.clear()
    plan = make_plan(request)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Watched("evaluate", 4))
    folder = run_folder(tmp_path / "runs", plan.settings)
    assert read_run(folder).info.timings.head_batch == 4
    backend.free = 0
    together.clear()
    assert counts(finish(request)) == expected
    assert together == chunks[1:]
    assert read_run(folder).info.timings.head_batch == 4


def test_a_cpu_records_no_head_batch(tmp_path: Path) -> None:
    assert read_run(finish(tiny_request(tmp_path, head_batch=3))).info.timings.head_batch is None


def test_multi_scale_and_five_scales_run(tmp_path: Path) -> None:
    single = counts(finish(tiny_request(tmp_path)))
    multi = counts(finish(tiny_request(tmp_path, scales=(0.7, 1.0, 1.3))))
    assert multi != single
    totals = [[sum(row[2]) for row in rows] for rows in (single, multi)]
    assert totals[0] == totals[1]  # the same pixels are counted


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_training_stopped_and_resumed_equals_training_in_one_go(optimizer: str, tmp_path: Path) -> None:
    settings = tiny_training(**{"recipe.optimizer": optimizer, "recipe.schedule": "cosine"})
    whole_request = tiny_request(tmp_path, method="biopt", iterations=6, settings=settings)
    whole = finish(whole_request, EVERY_STEP)
    stopped_request = replace(whole_request, out=str(tmp_path / "stopped"))
    for stop_at in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            execute(make_plan(stopped_request), Watched("train", stop_at), EVERY_STEP)
    stopped = finish(stopped_request, EVERY_STEP)
    first, second = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (whole, stopped))
    assert first["iteration"] == second["iteration"] == 6
    assert all(torch.equal(first["model"][k], second["model"][k]) for k in first["model"])
    assert (whole / "train.jsonl").read_text() == (stopped / "train.jsonl").read_text()
    assert counts(whole) == counts(stopped)
    losses = [row["loss"] for row in read_lines(whole / "train.jsonl")]
    assert len(set(losses)) == 6  # it did train


def test_training_does_not_depend_on_worker_count(tmp_path: Path) -> None:
    base = tiny_request(tmp_path, iterations=3, settings=tiny_training())
    one = finish(base)
    two = finish(replace(base, workers=2, out=str(tmp_path / "two")))
    assert (one / "train.jsonl").read_text() == (two / "train.jsonl").read_text()


@pytest.mark.slow
def test_sigkill_at_random_points_changes_nothing(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, method="panet", iterations=8, episodes="150", workers=1, settings=tiny_training())
    expected = finish(replace(request, out=str(tmp_path / "undisturbed")), EVERY_STEP)
    rng = random.Random(0)
    folder = run_folder(tmp_path / "runs", make_plan(request).settings)
    for lines in (3, 4, *(rng.randrange(1, 28) for _ in range(4))):  # appended to both logs before it is killed
        child = [sys.executable, "-c", _CHILD, json.dumps(asdict(request)), str(lines), str(rng.random())]
        assert subprocess.run(child, check=False).returncode == -signal.SIGKILL, "the process ended before"
    assert finish(request, EVERY_STEP) == folder
    assert counts(folder) == counts(expected)
    for log in ("train.jsonl", "predictions.jsonl"):
        assert (folder / log).read_text() == (expected / log).read_text()


_CHILD = """
import json, os, signal, sys, threading
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.records.request import RunRequest
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.engine.verify import verify
from fsseg_bench.records.lines import LineLog
values = json.loads(sys.argv[1])
values["scales"] = tuple(values["scales"])
left, delay, append = int(sys.argv[2]), float(sys.argv[3]) * 0.02, LineLog.append
def counted(self, row):
    global left
    append(self, row)
    left -= 1
    if left == 0:  # some moments later, in the middle of whatever is going on; no later than the next line
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    elif left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
LineLog.append = counted
execute(make_plan(RunRequest(**values)), cadence=Cadence(iterations=1))
"""


def test_a_file_of_the_protocols_own_episodes_changes_nothing(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    plain = make_plan(request)
    plain.table.to_csv(tmp_path / "own.csv")
    again = make_plan(replace(request, episodes=str(tmp_path / "own.csv")))
    assert again.settings == plain.settings
    assert again.protocol == plain.protocol
    assert again.request.given() == plain.request.given()


def test_episodes_from_elsewhere_change_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file, its name and the fold: one label and one digest, and neither is the protocol's."""
    plans = []
    for fold in (1, 2):
        request = tiny_request(tmp_path, fold=fold)
        plain = make_plan(request)
        plain.table.head(6 if fold == 1 else 5).to_csv(tmp_path / f"short{fold}.csv")
        plans.append(make_plan(replace(request, episodes=str(tmp_path / "short{fold}.csv"))))
        assert plans[-1].table == plain.table.head(6 if fold == 1 else 5)
        assert plans[-1].settings.protocol_digest != plain.settings.protocol_digest
        assert plans[-1].settings.protocol == plain.settings.protocol
    assert {plan.settings.protocol_label for plan in plans} == {"tiny-voc[episodes.list=given]"}
    assert len({plan.settings.protocol_digest for plan in plans}) == 1
    monkeypatch.chdir(tmp_path)
    beside = make_plan(tiny_request(tmp_path, episodes="short1.csv"))
    assert beside.settings == plans[0].settings
    assert beside.request.episodes == str(tmp_path / "short1.csv")


def test_a_list_with_repeated_supports(tmp_path: Path) -> None:
    """Counts of an episode with the same support twice are those of the support given once."""
    twice = EpisodeTable(((1,), (2,)), ("val_c1_0", "val_c2_0"), ((("val_c1_2",) * 2,), (("val_c2_2",) * 2,)))
    once = EpisodeTable(twice.classes, twice.queries, ((("val_c1_2",),), (("val_c2_2",),)))
    folders = []
    for table in (twice, once):
        table.to_csv(tmp_path / "list.csv")
        settings = {"protocol.episodes.support_replacement": "true"}
        request = tiny_request(tmp_path, shot=table.shots, episodes=str(tmp_path / "list.csv"), settings=settings)
        plan = make_plan(request)
        assert plan.protocol.label == "tiny-voc[episodes.list=given,episodes.support_replacement=true]"
        folders.append(finish(request))
        assert read_run(folders[-1]).table() == table
    assert counts(folders[0]) == counts(folders[1])
    twice.to_csv(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"line 2: the supports must differ; .*episodes\.support_replacement=true"):
        make_plan(tiny_request(tmp_path, shot=2, episodes=str(tmp_path / "list.csv")))


def test_several_runs_are_one_record(tmp_path: Path) -> None:
    """The score is the mean of those of the runs by themselves; a list of other episodes is no such table."""
    alone = []
    for seed in (4, 5):
        settings = {"protocol.episodes.seed": str(seed), "protocol.episodes.count": "6"}
        alone.append(read_run(finish(tiny_request(tmp_path, settings=settings))))
    settings = {"protocol.episodes.seed": "4,5", "protocol.episodes.count": "6"}
    both = read_run(finish(tiny_request(tmp_path, settings=settings)))
    assert (both.settings.runs, alone[0].settings.runs) == (2, None)
    assert "runs" not in alone[0].settings.to_json()
    own = [row[1:] for run in alone for row in counts(run.folder)]
    assert [row[1:] for row in counts(both.folder)] == own
    for metric in ("mean_iou", "binary_iou"):
        of_runs = [run.info.scores["native"][metric] for run in alone]
        assert both.info.scores["native"][metric] == pytest.approx(sum(score or 0 for score in of_runs) / 2)
    assert {verdict.part: verdict.good for verdict in verify(both.folder)}["scores"]
    table = both.table()
    assert table is not None
    table.to_csv(tmp_path / "same.csv")
    table.head(6).to_csv(tmp_path / "other.csv")
    assert make_plan(tiny_request(tmp_path, episodes=str(tmp_path / "same.csv"), settings=settings)).settings.runs == 2
    with pytest.raises(UserError, match=r"has 2 runs, and a list of other episodes is one run; add --set"):
        make_plan(tiny_request(tmp_path, episodes=str(tmp_path / "other.csv"), settings=settings))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    request = tiny_request(
        tmp_path, iterations=30, settings=tiny_training(**{"recipe.lr": "1e18", "recipe.bn": "eval"})
    )
    with pytest.raises(UserError, match=r"stopped at iteration \d+: the loss is not finite.*recipe\.lr"):
        finish(request, EVERY_STEP)
    (checkpoint,) = (tmp_path / "runs").rglob("checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["iteration"] >= 1
    info = json.loads((checkpoint.parent / "run.json").read_text())
    assert info["status"] == "failed"
    assert "not finite" in info["reason"]


def test_scores_equal_a_naive_evaluation(tmp_path: Path) -> None:
    """The engine's counts against everything done image by image, features upsampled, argmax of both maps."""
    import torch.nn.functional as F

    from fsseg_bench.engine.inference import normalise

    request = tiny_request(tmp_path, shot=2)
    plan = make_plan(request)
    rows = counts(finish(request))
    backbone = plan.model.backbone.eval()
    table, size, cpu = plan.table, plan.protocol.image.size, torch.device("cpu")
    disputed = 0
    with torch.no_grad():
        for i, (_, classes, at_input, at_native) in enumerate(rows):
            sums = torch.zeros(2, backbone.out_channels)
            for image in table.supports[i][0]:
                features = backbone(normalise(load_image(plan.source, image, size)[None], backbone, cpu))
                mask = torch.from_numpy(support_mask(plan.source, image, classes, 1, size))
                full = F.interpolate(features, (size, size), mode="bilinear", align_corners=False)[0]
                for value in (0, 1):
                    sums[value] += full[:, mask == value].sum(dim=1) / ((mask == value).sum() + 1e-5) / 2
            query = backbone(normalise(load_image(plan.source, table.queries[i], size)[None], backbone, cpu))
            cosine = F.cosine_similarity(query[0][None], sums[:, :, None, None], dim=1) * 20
            for found, side in ((at_input, size), (at_native, None)):
                label = query_label(plan.source, table.queries[i], classes, side)
                logits = F.interpolate(cosine[None], label.shape, mode="bilinear", align_corners=False)
                prediction = logits.argmax(dim=1)[0].numpy()
                expected = [[int(((label == t) & (prediction == p)).sum()) for p in (0, 1)] for t in (0, 1)]
                disputed += int(np.abs(np.asarray(found).reshape(2, 2) - expected).sum())
    assert disputed <= 4  # folding batch-norm may flip a pixel whose scores tie to the last bits


def test_bf16_trains_and_evaluates(tmp_path: Path) -> None:
    base = tiny_request(tmp_path, method="biopt", iterations=2, settings=tiny_training())
    full, half = finish(base), finish(replace(base, precision="bf16"))
    assert full != half  # precision is part of the identity
    totals = [[sum(row[2]) for row in counts(folder)] for folder in (full, half)]
    assert totals[0] == totals[1]


def test_a_runs_checkpoint_is_evaluated_on_its_own_fold_alone(tmp_path: Path) -> None:
    trained = finish(tiny_request(tmp_path, iterations=2, settings=tiny_training()))
    request = tiny_request(tmp_path, iterations=None, eval_only=str(trained))
    with pytest.raises(UserError, match=r"fold 1 held out, so that it has seen classes of fold 2 .*use --fold 1"):
        make_plan(replace(request, fold=2))
    with pytest.raises(UserError, match="a checkpoint of baseline, not of panet"):
        make_plan(replace(request, method="panet"))
    with pytest.raises(UserError, match="give --backbone resnet18-layer2"):
        make_plan(replace(request, backbone="resnet18-layer3"))


def test_logits_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    plan = make_plan(tiny_request(tmp_path))
    for parameter in plan.model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(UserError, match=r"episode 0: the method's logits are not finite"):
        execute(plan)


def test_a_broken_image_in_a_training_worker_is_one_message(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=2, workers=1, no_check=True, settings=tiny_training())
    plan = make_plan(request)
    for image in (tmp_path / "tiny-voc" / "JPEGImages").glob("train_*.jpg"):
        image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(UserError, match="train_") as caught:
        execute(plan)
    assert "Traceback" not in str(caught.value)


def test_few_training_images_are_decoded_before_the_training(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=2, settings=tiny_training())
    plan = make_plan(request)
    image = tmp_path / "tiny-voc" / "JPEGImages" / "train_c8_0.jpg"
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"1 of \d+ training images cannot be read: .*train_c8_0\.jpg.*truncated"):
        execute(plan)
    assert not list((tmp_path / "runs").rglob("train.jsonl"))


def test_timings_add_up_over_sessions(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    folder = finish(request)
    info = json.loads((folder / "run.json").read_text())
    edit_info(folder, status="evaluating")
    finish(request)
    again = json.loads((folder / "run.json").read_text())["timings"]
    assert again["evaluate_episodes"] == 12
    assert again["evaluate_seconds"] >= info["timings"]["evaluate_seconds"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": "fp8"}, '--precision is "fp8"; allowed: "fp32", "tf32", "bf16", "fp16"'),
        ({"scales": (0.01,)}, "queries need at least"),
        ({"seed": 2**70}, "--seed .* at most 63 bits"),
        ({"cache_gib": float("inf")}, "--cache-gib is inf"),
        ({"cache_gib": float("nan")}, "--cache-gib is nan"),
        ({"episodes": "\u00b2"}, "no such"),
        ({"settings": {"steps": "2", "method.steps": "3"}, "method": "biopt"}, "same switch"),
        ({"settings": {"recipe.iterations": "7"}, "iterations": 0}, "contradicts --iterations"),
    ],
)
def test_contradictions_and_odd_values(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        make_plan(tiny_request(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"hello world", b".", b"a", b"\x80\x02."])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.pth").write_bytes(content)
    request = tiny_request(tmp_path, iterations=None, eval_only=str(tmp_path / "odd.pth"))
    with pytest.raises(UserError, match=r"odd\.pth"):
        finish(request)


@pytest.mark.parametrize(
    ("asked", "cores", "threads", "device", "runs", "workers"),
    [
        (None, 2, 2, "cpu", 1, 0),
        (None, 8, 2, "cpu", 1, 6),
        (None, 8, 2, "cpu", 4, 0),
        (None, 32, 4, "cpu", 1, 8),
        (None, 2, 16, "cpu", 1, 0),
        (3, 2, 2, "cpu", 1, 3),
        (None, 4, 4, "cuda", 1, 4),
        (None, 64, 64, "cuda", 1, 8),
        (None, 8, 8, "cuda", 4, 2),
        (0, 64, 64, "cuda", 1, 0),
    ],
)
def test_images_are_loaded_ahead_by_cores_that_do_not_compute(
    asked: int | None, cores: int, threads: int, device: str, runs: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsseg_bench.machine.share.usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    request = RunRequest(workers=asked)
    assert default_workers(request, torch.device(device), Share(runs)) == workers
