"""Networks that are trained before a method: once for all that need them, resumable, and part of what a run is."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.cli.plan import plan_json, plan_text, seconds_left
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.open_run import RunPlaces, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.run_training import train_stage
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import identity_hash
from fsseg_bench.records.stage import StageRecord
from tests.support.runs import settings
from tests.support.tiny_run import Watched, finish, tiny_request

FIXTURE = Path(__file__).parents[1] / "fixtures" / "staged"
OTHER = '''"""Other: another method on the same base network."""
from fsseg_bench.recipe import Recipe
from .staged import Staged

class Other(Staged):
    """Trains nothing in episodes."""

    @classmethod
    def recipe(cls, protocol, shot):
        """Nothing."""
        return Recipe(iterations=0, batch=1, lr=0.1)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "own" / "other.py").write_text(OTHER)
    return tmp_path


def request(folder: Path, **changes: Any) -> RunRequest:
    own = {"method": "staged", "methods_path": str(folder / "own"), "iterations": None}
    return tiny_request(folder, **(own | changes))


def stage_files(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "stages").rglob("stage.json"))


def facts(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["stages"]["base"]
    return found


def test_a_stage_is_trained_before_the_method_and_its_network_is_kept_by_it(folder: Path) -> None:
    run = finish(request(folder))
    (stage,) = (path.parent for path in stage_files(folder))
    assert stage.parent.name == "BaseNet-resnet18-layer2"
    assert stage.parent.parent.name == "tiny-voc"
    base = load_state(stage / "checkpoint.pt").model
    state = load_state(run / "checkpoint.pt").model
    assert set(state) - set(base) == {"bias"}
    assert float(state["bias"]) != 0
    trained = make_plan(request(folder)).model.state_dict()
    assert not torch.equal(trained["classifier.weight"], base["classifier.weight"])
    fixed = [name for name in base if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(state[name], base[name]) for name in fixed)
    document = json.loads((stage / "stage.json").read_text())
    assert document["status"] == "done"
    assert len((stage / "train.jsonl").read_text().splitlines()) == 4
    assert read_run(run).settings.stage_identities == {"base": document["identity"]}
    assert facts(run)["trained"] == "here"
    assert facts(run)["training"]["constant_predictor"] > 0


@pytest.mark.slow
def test_another_shot_and_another_method_find_the_network_and_another_seed_does_not(folder: Path) -> None:
    first = finish(request(folder))
    stage = facts(first)["folder"]
    for changes in ({"shot": 2}, {"method": "other"}, {"settings": {"recipe.lr": "0.2"}}):
        found = facts(finish(request(folder, **changes)))
        assert (found["trained"], found["folder"]) == ("earlier", stage)
    assert len(stage_files(folder)) == 1
    for changes in ({"seed": 1}, {"fold": 2}, {"settings": {"stage.base.lr": "0.02"}}):
        assert facts(finish(request(folder, **changes)))["trained"] == "here"
    assert len(stage_files(folder)) == 4


def test_a_run_of_a_stage_alone_has_a_checkpoint_and_can_be_opened_and_evaluated_again(folder: Path) -> None:
    run = finish(request(folder, method="other"))
    assert read_run(run).settings.parameters == "here"
    opened = open_run(run, RunPlaces(methods_path=str(folder / "own"))).plan.model.state_dict()
    base = load_state(Path(facts(run)["folder"]) / "checkpoint.pt").model
    assert all(torch.equal(opened[name], value) for name, value in base.items())
    again = finish(request(folder, method="other", eval_only=str(run)))
    assert read_run(again).info.settings.stages is None
    assert read_run(again).settings.stages == read_run(run).settings.stages  # as tables show it
    assert read_run(again).counts().input.tolist() == read_run(run).counts().input.tolist()
    shutil.rmtree(folder / "runs" / "stages")
    assert finish(request(folder, method="other")) == run  # done: nothing is trained again
    assert not stage_files(folder)


@pytest.mark.slow
def test_a_killed_stage_goes_on_to_the_same_numbers(folder: Path) -> None:
    whole = Path(facts(finish(request(folder)))["folder"])
    expected = load_state(whole / "checkpoint.pt").model
    log = (whole / "train.jsonl").read_text()
    shutil.rmtree(folder / "runs")
    with pytest.raises(KeyboardInterrupt):
        plan = make_plan(request(folder))
        execute(plan, Watched("stage base", stop_at=3), Cadence(0.0))
    (found,) = stage_files(folder)
    assert json.loads(found.read_text())["status"] == "training"
    assert 0 < load_state(found.parent / "checkpoint.pt").iteration < 4
    finish(request(folder))
    model = load_state(found.parent / "checkpoint.pt").model
    assert all(torch.equal(value, expected[name]) for name, value in model.items())
    assert (found.parent / "train.jsonl").read_text() == log


@pytest.mark.slow
def test_a_run_waits_while_another_process_trains_its_stage(folder: Path) -> None:
    plan = make_plan(request(folder))
    record = StageRecord.open(folder / "runs", plan.stages[0].key, lambda _: None)
    told = Watched()
    done: list[Path] = []
    waiting = threading.Thread(target=lambda: done.append(execute(plan, told).folder))
    waiting.start()
    while not any("training stage base" in line for line in told.said):
        assert waiting.is_alive()
        waiting.join(0.05)
    assert not (record.folder / "checkpoint.pt").exists()
    record.close()
    waiting.join(600)
    assert facts(done[0])["trained"] == "here"


def test_images_of_unseen_classes_alone_are_left_out_unless_asked_for(folder: Path) -> None:
    """Of fold 1 (classes 1, 2): images of 1 show 1 or 1 and 2; of 2, those with odd numbers show 2 and 3."""
    default, everything = (
        make_plan(request(folder, settings=settings)).stages[0] for settings in ({}, {"stage.base.images": "all"})
    )
    names = set(default.chosen.images)
    assert {name for name in names if "_c2_" in name} == {"train_c2_1", "train_c2_3"}
    assert not {name for name in names if "_c1_" in name}
    assert len(names) == 6 * 4 + 2
    assert default.chosen.left_out == 8 * 4 - len(names)
    assert (len(everything.chosen.images), everything.chosen.left_out) == (8 * 4, 0)
    assert default.key.identity != everything.key.identity


@pytest.mark.slow
def test_a_dry_run_says_what_comes_before(folder: Path) -> None:
    def said() -> str:
        (line,) = [note for note in plan_all([request(folder)], {}).notes if note.startswith("stage base")]
        return line

    assert "4 steps of 2 of 26 images, 6 without such a class left out; trained first" in said()
    assert not stage_files(folder)
    finish(request(folder))
    assert "trained already" in said()


def test_the_steps_of_a_stage_that_two_runs_need_are_estimated_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fsseg_bench.engine.batch._WORTH_MEASURING", 1)
    batch = plan_all([request(folder), request(folder, method="other")], {}, measuring=lambda _: None)
    own, others = (run.left.steps for run in batch.runs)
    assert own == {"stage base": 4, "train": 2, "evaluate": 12}
    assert others == {"evaluate": 12}
    speeds = [run.speeds for run in batch.runs]
    assert all(speed["stage base"] > 0 for speed in speeds)
    expected = (
        4 * speeds[0]["stage base"] + 2 * speeds[0]["train"] + 12 * (speeds[0]["evaluate"] + speeds[1]["evaluate"])
    )
    assert seconds_left(batch) == pytest.approx(expected)
    plan_text(batch, batch.notes, (), verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 steps of stage base, 2 training steps, 12 episodes" in shown
    assert "a step, about" in shown and "trained once for all runs that need it" in shown
    left = [run["left"] for run in json.loads(plan_json(batch, ()))["runs"]]
    assert left[0] == {"stage base": 4, "train": 2, "evaluate": 12}


@pytest.mark.slow
def test_what_is_left_of_a_stage_and_of_runs_that_need_it(folder: Path) -> None:
    def left(**changes: Any) -> dict[str, int]:
        return dict(plan_all([request(folder, **changes)], {}).runs[0].left.steps)

    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(request(folder)), Watched("stage base", stop_at=3), Cadence(0.0))
    done = len((stage_files(folder)[0].parent / "train.jsonl").read_text().splitlines())
    assert 0 < done < 4
    assert left() == {"stage base": 4 - done, "train": 2, "evaluate": 12}
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(request(folder)), Watched("train", stop_at=2), Cadence(0.0))
    shutil.rmtree(folder / "runs" / "stages")  # the run's checkpoint has the network
    assert "stage base" not in left()
    assert left(shot=2)["stage base"] == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stage.other.lr": "1"}, "stage of staged"),
        ({"stage.base.nothing": "1"}, "recipe key"),
        ({"stage.base.images": "few"}, "stage.base.images"),
        ({"stage.base.lr": "none"}, "stage base: recipe.lr"),
        ({"stage.base": "1"}, r"--set stage\.base: write stage\.NAME\.KEY"),
        ({"stage.base.freeze": "layer9"}, r"--set stage\.base\.freeze 'layer9'.*none"),
    ],
)
def test_wrong_settings_of_stages_are_refused(folder: Path, given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_plan(request(folder, settings=given))


def test_stages_of_a_method_without_any_and_of_a_checkpoint_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="stage of baseline"):
        make_plan(tiny_request(folder, settings={"stage.base.lr": "1"}))
    with pytest.raises(UserError, match=r"stage\.base\.lr and --eval-only"):
        make_plan(request(folder, eval_only="x", settings={"stage.base.lr": "1"}))


def test_a_stage_of_no_iterations_is_left_out(folder: Path) -> None:
    plan = make_plan(request(folder, settings={"stage.base.iterations": "0"}))
    assert plan.stages == ()
    with pytest.raises(UserError, match=r"stage\.base\.iterations=0 leaves it out"):
        train_stage(plan, "base")
    assert "stages" not in plan.settings.to_json()


@pytest.mark.slow
def test_a_damaged_checkpoint_of_a_stage_is_told_with_its_name(folder: Path) -> None:
    file = Path(facts(finish(request(folder)))["folder"]) / "checkpoint.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"stage base: .*checkpoint\.pt.*remove it, or move its folder elsewhere"):
        finish(request(folder, shot=2))


def test_advice_of_a_stage_that_diverges_names_its_own_settings(folder: Path) -> None:
    with pytest.raises(UserError, match=r"stage base: .*not finite.*--set stage\.base\.lr=") as told:
        finish(request(folder, settings={"stage.base.lr": "1e30"}))
    assert "recipe." not in str(told.value)


@pytest.mark.slow
def test_what_a_stage_does_not_depend_on_is_no_part_of_its_identity(folder: Path) -> None:
    base = request(folder)
    known = make_plan(base).stages[0].key.identity
    same = [replace(base, shot=3), replace(base, scales=(1.0, 0.5)), replace(base, episodes="5"), replace(base, way=2)]
    assert [make_plan(one).stages[0].key.identity for one in same] == [known] * len(same)
    others = [replace(base, precision="bf16"), replace(base, backbone="resnet18-layer1")]
    others.append(replace(base, settings={"protocol.data.novel_in_train": "ignore"}))
    assert known not in {make_plan(one).stages[0].key.identity for one in others}


def test_settings_and_identity_of_methods_without_stages_are_what_they_were(folder: Path) -> None:
    """The hashes are of the version before stages."""
    assert settings().identity == "376816e2643fd819813d536e9166ebb54d6cee468eb03226acfb8fe2632f2ad8"
    found = make_plan(tiny_request(folder, iterations=3)).settings
    kept = found.without("method_digest", "evaluated_digest", "data_fingerprint")
    assert identity_hash(kept) == "d96a7d090fa010c9a31cddb44b5def81e141a76a6a41aeea4aad59e7851f5eab"


def test_methods_of_this_package_may_have_attributes_of_their_own_called_stages(folder: Path) -> None:
    assert make_plan(tiny_request(folder, method="biopt")).stages == ()
