"""The runs of one command: one backbone, each run once, everything wrong found before the first step."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import fsseg_bench
from fsseg_bench.engine import batch as batches
from fsseg_bench.engine import slots
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.requests import requests_for
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import write_protocol
from tests.support.tiny_run import Watched, tiny_request, tiny_training

WRONG_SHAPE = '''"""Wrong: three channels.

Title: none
Fidelity: own design
"""
from fsseg_bench.method import Method, feature_map
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.recipe import Recipe


class Wrong(Method):
    def predict(self, episode):
        return feature_map(episode.query)[:, :3]

    def loss(self, episode):
        return {"query": segmentation_loss(feature_map(episode.query)[:, :2], episode.query_labels)}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=2, batch=1, lr=0.1)
'''


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a command gives beside methods and folds."""
    given = asdict(tiny_request(folder, **changes))
    return {key: value for key, value in given.items() if key not in {"method", "fold"}}


def planned(folder: Path, methods: list[str], folds: list[int], **changes: Any) -> batches.Batch:
    return plan_all(requests_for(methods, folds, **options(folder, **changes)).requests, {})


# Everything is planned first


def test_published_backbones_are_planned(tmp_path: Path) -> None:
    both = planned(tmp_path, ["panet", "biopt"], [1], backbone="published")
    assert [run.settings.backbone for run in both.runs] == ["vgg16", "resnet50"]
    assert [run.request.backbone for run in both.runs] == ["published"] * 2


def test_nothing_is_trained_when_a_later_method_cannot_run(tmp_path: Path) -> None:
    given = {"iterations": 3, "settings": tiny_training(), "way": 2, "out": str(tmp_path / "runs")}
    with pytest.raises(UserError, match=r"--way 2: canet does at most 1-way episodes"):
        fsseg_bench.run(["baseline", "canet"], **options_of_api(tmp_path, **given), fold=1)
    assert not (tmp_path / "runs").exists()


def options_of_api(folder: Path, **changes: Any) -> dict[str, Any]:
    given = options(folder, **changes)
    defaults = asdict(RunRequest("x", "y"))
    return {key: value for key, value in given.items() if key == "dataset" or value != defaults[key]}


def test_all_errors_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        planned(tmp_path, ["baseline", "panett", "biopt"], [1, 2], settings={"steps": "many"})
    lines = str(error.value).splitlines()
    assert lines[0] == "6 of 6 runs cannot be made; nothing was started"
    assert lines[1].startswith("  baseline fold 1,2: unknown switch of baseline 'steps'")
    assert lines[2].startswith("  panett fold 1,2: unknown method 'panett'. Did you mean 'panet'")
    assert lines[3] == "  biopt fold 1,2: steps=many is not a whole number"


def test_one_error_of_all_runs_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^recipe\.lr=fast is not a number$"):
        planned(tmp_path, ["baseline", "biopt"], [1, 2], settings={"recipe.lr": "fast"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iterations": 2, "settings": {"recipe.freeze": "all"}}, "leaves nothing to train"),
        ({"iterations": 2, "settings": {"recipe.freeze": "layer7"}}, "layer7"),
        (
            {"iterations": 2, "settings": {"recipe.lr_factors": {"nowhere.": 2.0}}},
            "no parameter begins with 'nowhere.'",
        ),
        ({"device": "warp"}, "use auto, cpu, cuda or cuda:INDEX"),
        ({"settings": {"void_in_bg": True}, "way": 2}, "void_in_bg=true with 2 ways"),
    ],
)
def test_what_a_run_would_find_out_later(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        planned(tmp_path, ["baseline"], [1], **changes)
    assert not (tmp_path / "runs").exists()


def test_a_wrong_shape_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "wrong.py").write_text(WRONG_SHAPE)
    with pytest.raises(UserError, match=r"wrong: 1-way 1-shot, 1 episode: predict gave \(1, 3, 9, 9\), not \(1, 2,"):
        planned(tmp_path, ["wrong"], [1], methods_path=str(tmp_path / "mine"), iterations=2)


def test_a_run_asked_for_twice_is_run_once(tmp_path: Path) -> None:
    requests = requests_for(["baseline"], [2, 1, 2], **options(tmp_path))
    assert [request.fold for request in requests.requests] == [2, 1]
    assert requests.notes == ("--fold 2 is given twice; it is run once",)
    again = plan_all([*requests.requests, requests.requests[0]], {})
    assert [run.request.fold for run in again.runs] == [2, 1]
    assert "baseline fold 2: asked for twice; it is run once" in again.notes


@pytest.mark.slow
def test_models_are_not_kept_and_sources_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RunRequest] = []
    original = batches.make_plan

    def counted(request: RunRequest, *shared: Any) -> Any:
        made.append(request)
        return original(request, *shared)

    monkeypatch.setattr(batches, "make_plan", counted)
    opened: Any = {}
    found = plan_all(requests_for(["baseline", "biopt"], [1, 2], **options(tmp_path)).requests, opened)
    assert len(made) == 4
    assert len(opened) == 1
    assert all(run._plan is None for run in found.runs)
    (source,) = opened.values()
    assert all((plan := run.plan(opened)).source is source[0] and plan.settings == run.settings for run in found.runs)
    alone = plan_all([found.runs[0].request], opened)
    assert alone.runs[0].plan(opened) is alone.runs[0].plan(opened)


@pytest.mark.parametrize("name", ["backbone.layer1.0.conv1.weight", "backbone.bn1.running_mean"])
def test_planning_leaves_the_model_as_it_is_built(tmp_path: Path, name: str) -> None:
    request = tiny_request(tmp_path, iterations=2, settings=tiny_training())
    (run,) = plan_all([request], {}).runs
    planned_once, fresh = run.plan({}).model.state_dict(), batches.make_plan(request).model.state_dict()
    assert torch.equal(planned_once[name], fresh[name])


def test_a_device_that_is_elsewhere_stops_a_run_and_no_dry_run(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, device="warp")
    with pytest.raises(UserError, match="use auto, cpu, cuda"):
        plan_all([request], {})
    assert len(plan_all([request], {}, here=False).runs) == 1


def test_all_episodes_of_data_that_are_elsewhere_are_not_counted(tmp_path: Path) -> None:
    """Without the data nobody knows how many there are; a number is multiplied by the runs."""
    every = {"protocol.episodes.count": "0", "protocol.episodes.class_sampling": "each-pair"}
    write_protocol(tmp_path / "tiny-voc.toml", root="nowhere", size=64)
    some = {"protocol.episodes.count": "7", "protocol.episodes.runs": "3"}
    requests = [tiny_request(tmp_path, settings=own) for own in (every, some)]
    unknown, known = plan_all(requests, {}, here=False).runs
    assert (unknown.episodes, known.episodes) == (0, 21)
    assert unknown.lacking[-1].startswith("the number of episodes, which the data decide (episodes.count = 0)")
    assert len(known.lacking) == 1


# From Python


def test_several_methods_from_python(tmp_path: Path) -> None:
    told = Watched()
    given = options_of_api(
        tmp_path, settings={**tiny_training(), "recipe.lr_factors": {"backbone.": 0.5}}, iterations=1
    )
    frame = fsseg_bench.run(["baseline", "panet"], fold=1, progress=told, seed=[0, 3], **given)
    assert set(zip(frame["method"], frame["seed"], strict=True)) == {
        (m, s) for m in ("baseline", "panet") for s in (0, 3)
    }
    info = json.loads((Path(frame["path"][0]) / "run.json").read_text())
    assert info["settings"]["recipe"]["lr_factors"] == {"backbone.": 0.5}
    assert info["passed"]["settings"]["recipe.lr_factors"] == {"backbone.": 0.5}
    different, warning = frame.attrs["notes"]  # the backbone was named
    assert told.said[:2] == [different, "further remarks, in frame.attrs['notes']: 1"]
    assert warning.startswith("warning: tiny-voc fold 1: under 30 test images of a class")
    assert different == "different schedule: baseline constant; panet step, x0.1 at 10,000, 20,000"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fold": True}, "fold=true is not a whole number"),
        ({"fold": [1, 2.5]}, "fold=2.5 is not a whole number"),
        ({"seed": [0, 0.5]}, "seed=0.5 is not a whole number"),
        ({"seed": []}, "name at least one method, one fold and one seed"),
        ({"settings": {5: 1}}, "settings: 5 is no name"),
        ({"shot": True}, "shot=true is not a whole number"),
        ({"shot": 1.0}, "shot=1.0 is not a whole number"),
        ({"weights": 5}, "weights=5 is not text"),
        ({"scales": 0.5}, "scales=0.5 is not a list"),
    ],
)
def test_options_from_python_are_checked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        fsseg_bench.run("baseline", "shapes5i", **given)
    assert said in str(error.value)


def test_other_functions_say_what_was_meant() -> None:
    with pytest.raises(UserError, match=r"unknown option of predict 'chekpoint'. Did you mean 'checkpoint'"):
        fsseg_bench.predict([], [], chekpoint="x")
    with pytest.raises(UserError, match=r"'base_clases'. Did you mean 'base_classes'"):
        fsseg_bench.build_method("baseline", "resnet18-layer2", "none", base_clases=3)
    with pytest.raises(UserError, match="alpha=true is not a number"):
        fsseg_bench.build_method("baseline", "resnet18-layer2", "none", alpha=True)


def test_list_files_with_commas_arrive_from_python(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    pairs = tmp_path / "a, b=c.txt"
    lists = tmp_path / "tiny-voc" / "ImageSets" / "Segmentation" / "val.txt"
    pairs.write_text(lists.read_text())
    (run,) = plan_all([RunRequest(**{**vars(request), "settings": {"protocol.data.test_list": (pairs,)}})], {}).runs
    assert run.settings.protocol_label == 'tiny-voc[data.test_list=["a, b=c.txt"]]'


def test_fewer_runs_than_at_first_have_more_threads_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs on eight cores are measured with two threads; for two of them there is memory, and they have four."""
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    monkeypatch.setattr(batches, "_fitting", lambda _runs, _count: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        requests = requests_for(["baseline", "panet"], [1, 2], **options(tmp_path)).requests
        batch = plan_all(requests, {}, jobs="auto")
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
    assert (batch.slots.count, {run.request.threads for run in batch.runs}) == (2, {4})
