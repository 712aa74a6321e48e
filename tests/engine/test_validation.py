"""Checkpoints chosen on validation classes: the scores, the choice, and the same choice after a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine import validation
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.open_run import open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.engine.validation import Chooser
from fsseg_bench.errors import UserError
from fsseg_bench.machine import stopping
from fsseg_bench.method import Method
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.record_facts import record_facts
from tests.support.datasets import CLASSES, write_protocol
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training

STEPS, EPISODES = 5, 6
RULE = f'rule = "validation"\nevery = 2\nepisodes = {EPISODES}\nseed = 3'
LAST = 'rule = "last"'
SHARP = {**tiny_training(), "recipe.lr": "0.3", "recipe.warmup": "0"}
"""A training in which scores differ from step to step."""


def written(folder: Path) -> Path:
    """Three folds; the last two of the eight classes are for validation."""
    path = folder / "tiny-voc.toml"
    tiny_request(folder)  # writes the data
    text = path.read_text().replace(f"4 = {json.dumps(CLASSES[6:])}\n", "")
    text = text.replace("[folds]", f"validation = {json.dumps(CLASSES[6:])}\n[folds]").replace(LAST, RULE)
    assert RULE in text
    path.write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its folder's data serve further runs."""
    return finish(request(written(tmp_path_factory.mktemp("whole"))))


def request(folder: Path, **changes: Any) -> RunRequest:
    return tiny_request(folder, **{"iterations": STEPS, "settings": SHARP, **changes})


def said(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["validation"]
    return found


def state_of(run: Path) -> dict[str, Tensor]:
    return load_state(run / "checkpoint.pt").model


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "train.jsonl").read_text().splitlines()]


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    """What the training looked at, by step."""
    seen: dict[int, dict[str, Tensor]] = {}
    look = Chooser.look

    def looking(self: Chooser, method: Method, done: int) -> bool:
        seen[done] = {name: value.clone() for name, value in method.state_dict().items()}
        return look(self, method, done)

    monkeypatch.setattr(Chooser, "look", looking)
    return seen


def test_scores_are_those_of_evaluations_on_the_validation_classes(
    folder: Path, states: dict[int, dict[str, Tensor]]
) -> None:
    """Each state evaluated by a run of its own, under a protocol that holds the validation classes out."""
    run = finish(request(folder))
    found = said(run)
    assert list(states) == [2, 4, 5]
    assert found["classes"] == list(CLASSES[6:])
    path = write_protocol(folder / "other.toml", size=64, count=EPISODES, test_list=["train"], train_list=["val"])
    text = path.read_text().replace('"uniform"', '"cycle"').replace("seed = 7", "seed = 3")
    path.write_text(text.replace(f"4 = {json.dumps(CLASSES[6:])}", "").replace('1 = ["anchor", "barrel"]', ""))
    head, _, rest = path.read_text().partition("[folds]")
    tail = rest[rest.index("[data]") :]
    path.write_text(f"{head}[folds]\n1 = {json.dumps(CLASSES[6:])}\n{tail}".replace("tiny-voc", "other", 1))
    (folder / "other").mkdir(exist_ok=True)
    scores = {}
    for step, state in states.items():
        file = folder / f"{step}.pt"
        torch.save(state, file)
        wanted = tiny_request(folder, dataset=str(path), eval_only=str(file), iterations=None)
        scores[str(step)] = json.loads((finish(wanted) / "run.json").read_text())["scores"]["input"]["mean_iou"]
    assert found["scores"] == pytest.approx(scores, abs=1e-12)
    assert len(set(scores.values())) > 1
    best = max(scores.values())
    assert found["step"] == min(int(step) for step, score in scores.items() if score == best)
    assert equal(state_of(run), states[found["step"]])
    assert record_facts(run)["validation"]["step"] == found["step"]
    assert equal(open_run(run).plan.model.state_dict(), states[found["step"]])


def test_looking_changes_nothing_of_the_training(folder: Path) -> None:
    chosen = finish(request(folder))
    path = folder / "tiny-voc.toml"
    path.write_text(path.read_text().replace(RULE, LAST))
    last = finish(request(folder))
    assert losses(chosen) == losses(last)
    assert "validation" not in json.loads((last / "run.json").read_text())
    assert not {"choice", "best"} & torch.load(last / "checkpoint.pt", weights_only=True).keys()


def test_episodes_are_of_validation_classes_and_training_images_alone(folder: Path) -> None:
    for fold in (1, 2, 3):
        plan = make_plan(request(folder, fold=fold))
        assert plan.validation is not None
        table = plan.validation.table
        assert {c for classes in table.classes for c in classes} == {7, 8}
        assert [classes[0] for classes in table.classes] == [7, 8] * (EPISODES // 2)
        images = {image for i in range(len(table)) for image in table.images(i)}
        assert all(image.startswith("train_") for image in images)
        assert not {7, 8} & set(plan.index.train_pairs(fold))
    assert make_plan(request(folder, iterations=0, settings={})).validation is None


def test_no_episode_shows_a_photo_that_drop_image_leaves_out(folder: Path) -> None:
    """Odd images of class 8 show class 1, which fold 1 holds out."""
    settings = {**SHARP, "protocol.data.novel_in_train": "drop-image", "protocol.data.min_object_pixels": "100"}
    plan = make_plan(request(folder, settings=settings))
    assert plan.validation is not None
    assert plan.validation.pairs[8] == ("train_c8_0", "train_c8_2")
    assert plan.validation.pairs[7] == tuple(f"train_c7_{i}" for i in range(4))


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_killed_training_makes_the_same_choice(whole: Path, tmp_path: Path, stop: int) -> None:
    again = request(whole.parents[4], out=str(tmp_path / "again"))
    with pytest.raises(KeyboardInterrupt):
        execute(make_plan(again), Watched("train", stop), Cadence(iterations=1))
    run = execute(make_plan(again)).folder
    assert said(run) == said(whole)
    assert equal(state_of(run), state_of(whole))


@pytest.mark.parametrize("at", [2, 5])
def test_a_look_that_is_broken_off_is_made_again(
    whole: Path, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to end while the state after ``at`` steps is scored; the last one is not taken for chosen."""
    again = request(whole.parents[4], out=str(tmp_path / "again"))
    score, calls = validation._score, iter((2, 4, 5))

    def broken(*arguments: Any) -> float:
        if next(calls) == at:
            raise stopping.Stopped
        return score(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(validation, "_score", broken)
        execute(make_plan(again))
    (record,) = (tmp_path / "again").rglob("run.json")
    state = load_state(record.parent / "checkpoint.pt")
    assert state.iteration == {2: 2, 5: 4}[at]
    assert [done for done, _ in state.choice["scores"]] == {2: [], 5: [2, 4]}[at]
    run = execute(make_plan(again)).folder
    assert said(run) == said(whole)
    assert equal(state_of(run), state_of(whole))


@pytest.mark.parametrize(
    ("scores", "step"), [([0.1, 0.3, 0.2], 4), ([0.3, 0.1, 0.3], 2), ([0.0, 0.0], 2), ([0.1, 0.2, 0.3], 6)]
)
def test_the_best_is_kept_and_of_equal_ones_the_first(scores: Sequence[float], step: int) -> None:
    method = torch.nn.Linear(1, 1)
    values = iter(scores)
    chooser = Chooser(2, lambda _: next(values))
    for done in range(1, 2 * len(scores) + 1):
        torch.nn.init.constant_(method.weight, done)
        if chooser.looks(done, 2 * len(scores)):
            assert chooser.look(method, done)  # type: ignore[arg-type]
    assert (chooser.step, float(chooser.best["weight"])) == (step, step)
    assert chooser.state() == {"scores": [[2 * i + 2, score] for i, score in enumerate(scores)]}


def test_what_is_refused_before_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'checkpoint\.rule = "validation", 6 episodes of the validation .*--way 3'):
        make_plan(request(folder, way=3))
    with pytest.raises(UserError, match=r'checkpoint\.rule = "validation", 1 episodes of the validation classes: '):
        make_plan(request(folder, settings={**SHARP, "protocol.checkpoint.episodes": "1"}))
    monkeypatch.setattr(validation, "processes", lambda: SimpleNamespace(size=2))
    with pytest.raises(UserError, match="is for trainings by one process, and torchrun started 2"):
        make_plan(request(folder))
