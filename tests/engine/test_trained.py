"""An evaluated checkpoint: one run wherever it lies, and its training goes with it as far as it is known."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.open_run import open_model, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import CheckpointTraining
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.compare import compare
from fsseg_bench.report.select import select
from fsseg_bench.report.table import runs_tables
from tests.support.runs import edit_info
from tests.support.tiny_run import finish, tiny_request, tiny_training


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data set with a run trained with seed 4 in ``runs``."""
    folder = tmp_path_factory.mktemp("once")
    finish(tiny_request(folder, iterations=2, seed=4, settings=tiny_training()))
    return folder


@pytest.fixture
def made(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "made"))


@pytest.fixture
def trained(made: Path) -> Path:
    (folder,) = (made / "runs").glob("*/*/*/fold1-seed4-*")
    return folder


def evaluation(made: Path, checkpoint: Path, **changes: Any) -> RunRequest:
    values: dict[str, Any] = {"iterations": None, "eval_only": str(checkpoint), "out": str(made / "evaluated")}
    return tiny_request(made, **(values | changes))


def variants(root: Path) -> list[str]:
    (table,) = runs_tables(find_runs(root))
    return [row[2].text for row in table.rows]


@pytest.mark.slow
def test_one_checkpoint_is_one_run_whatever_its_path_and_the_seed(made: Path, trained: Path, tmp_path: Path) -> None:
    first = finish(evaluation(made, trained))
    assert first.name.startswith("fold1-checkpoint-")
    moved = Path(shutil.copytree(trained, tmp_path / "elsewhere"))
    bare = Path(shutil.copy(trained / "checkpoint.pt", tmp_path / "theirs.pt"))
    for checkpoint in (trained / "checkpoint.pt", moved, bare):
        for changes in ({}, {"seed": 1}, {"seed": 2}, {"weights": None}):
            assert make_plan(evaluation(made, checkpoint, **changes)).settings == read_run(first).info.settings
    assert finish(evaluation(made, bare, seed=3)) == first
    batch = plan_all([evaluation(made, trained, seed=s) for s in (0, 1)], {})
    assert len(batch.runs) == 1
    assert "baseline fold 1: asked for twice; it is run once" in batch.notes


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain.pth": lambda model: model,
    "module.pth": lambda model: {f"module.{key}": value for key, value in model.items()},
    "state_dict.pth": lambda model: {"state_dict": model, "epoch": 3},
    "nested-module.pt": lambda model: {"model": {f"module.{key}": value for key, value in model.items()}},
    "compiled.pth": lambda model: {f"_orig_mod.{key}": value for key, value in model.items()},
    "framework.pth": lambda model: {
        "state_dict": {f"model.net.{key}": value for key, value in model.items()},
        "epoch": 3,
    },
    "model_state_dict.pth": lambda model: {"model_state_dict": model},
    "plain.safetensors": lambda model: model,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_gives_the_same_parameters(made: Path, trained: Path, tmp_path: Path, form: str) -> None:
    """Evaluated, by predict, and when the evaluation is opened again for figures and sweeps."""
    model = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    file, content = tmp_path / form, FORMS[form](model)
    if file.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in content.items()}, file)
    else:
        torch.save(content, file)
    folder = finish(evaluation(made, file))
    assert read_run(folder).counts().input.tolist() == read_run(trained).counts().input.tolist()
    alone = open_model(file, method="baseline", backbone="resnet18-layer2").method
    for method in (alone, open_run(folder).plan.model):
        state = method.state_dict()
        assert state.keys() == model.keys()
        assert all(torch.equal(state[key], value) for key, value in model.items())


@pytest.mark.parametrize("entry", ["run --eval-only", "predict"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("damaged", "truncated or damaged"),
        ("pickle", "holds more than tensors"),
        ("pipe", "not a regular file"),
        ("nothing", "holds no named tensors"),
        ("other", "does not fit this method and backbone"),
        ("missing", "no such checkpoint"),
    ],
)
def test_files_that_are_refused_alike(
    made: Path, trained: Path, tmp_path: Path, entry: str, kind: str, message: str
) -> None:
    file = tmp_path / "theirs.pth"
    if kind == "damaged":
        data = (trained / "checkpoint.pt").read_bytes()
        file.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind != "missing":
        torch.save({"pickle": Path("x"), "nothing": {"epoch": 3}, "other": {"a": torch.ones(1)}}[kind], file)
    with pytest.raises(UserError, match=message) as caught:
        if entry == "predict":
            open_model(file, method="baseline", backbone="resnet18-layer2")
        else:
            plan_all([evaluation(made, file)], {})
    assert str(file) in str(caught.value)


def test_parameters_saved_in_the_run_folder_are_taken_alone_and_its_checkpoint_by_any_name(
    made: Path, trained: Path
) -> None:
    torch.save(torch.load(trained / "checkpoint.pt", weights_only=True)["model"], trained / "alone.pth")
    assert make_plan(evaluation(made, trained / "alone.pth")).trained == CheckpointTraining("alone.pth")
    renamed = shutil.copy(trained / "checkpoint.pt", trained / "best.pt")
    found = make_plan(evaluation(made, Path(renamed))).trained
    assert found is not None
    assert found.identity == read_run(trained).info.identity


def test_it_is_read_as_trained_by_its_recipe_and_seed(made: Path, trained: Path) -> None:
    folder = finish(evaluation(made, trained))
    own, found = read_run(trained), read_run(folder)
    for key in ("recipe", "seed", "weights", "weights_digest"):
        assert getattr(found.settings, key) == getattr(own.settings, key)
    assert found.settings.recipe["iterations"] == 2
    assert found.info.trained.run == str(trained)
    assert found.info.trained.identity == own.info.identity
    assert variants(made / "evaluated") == [f"checkpoint run {own.info.identity[:8]}"]
    (contender,) = select(["baseline"], made / "evaluated", {"recipe.iterations": "2"}).contenders
    assert list(contender.runs[1]) == [4]


def test_a_training_and_its_checkpoint_can_be_compared(made: Path, trained: Path) -> None:
    other = finish(evaluation(made, trained))
    found = compare(select([str(trained), str(other)], made, {}).contenders, resamples=100)
    assert found.versus[0].overall["mean"].difference.value == 0
    assert found.versus[0].differs == ()
    assert "parameters=checkpoint" in found.versus[0].other.label


def test_a_file_of_unknown_training_says_so_until_its_run_is_named(made: Path, trained: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copy(trained / "checkpoint.pt", tmp_path / "theirs.pt"))
    folder = finish(evaluation(made, bare))
    digest = read_run(folder).info.settings.checkpoint_digest
    assert variants(made / "evaluated") == [f"checkpoint theirs.pt {digest[:8]} (training unknown)"]
    assert read_run(folder).settings.recipe == {}
    with pytest.raises(UserError, match=r"recipe\.iterations|unknown setting"):
        select(["baseline"], made / "evaluated", {"recipe.iterations": "0"})
    assert finish(evaluation(made, trained)) == folder
    assert variants(made / "evaluated") == [f"checkpoint run {read_run(trained).info.identity[:8]}"]


def test_what_has_no_part_is_refused_or_said(made: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=r"--set recipe\.lr and --eval-only exclude each other"):
        make_plan(evaluation(made, trained, settings={"recipe.lr": "1"}))
    with pytest.raises(UserError, match=r"--eval-only and --weights w\.pth exclude each other"):
        make_plan(evaluation(made, trained, weights="w.pth"))
    batch = plan_all([evaluation(made, trained, seed=7)], {})
    assert batch.notes[:1] == ("--seed 7 has no part in the evaluation of a checkpoint: all its parameters are stored",)


def test_it_opens_again_and_says_what_it_was_trained_with(made: Path, trained: Path) -> None:
    folder = finish(evaluation(made, trained, shot=2, settings={"alpha": 10}))
    again = open_run(folder)
    assert again.plan.switches["alpha"] == 10.0
    assert not again.changed_code
    assert "trained with shot=1, alpha=20; checkpoint run" in variants(made / "evaluated")[0]


def test_a_record_of_an_evaluation_has_no_checkpoint_of_its_own(made: Path, trained: Path) -> None:
    folder = finish(evaluation(made, trained))
    shutil.copy(trained / "checkpoint.pt", folder)
    with pytest.raises(UserError, match="this run evaluated another checkpoint; give "):
        make_plan(evaluation(made, folder))


def test_a_run_without_a_training_has_none_either(made: Path, trained: Path, tmp_path: Path) -> None:
    folder = finish(tiny_request(tmp_path))
    shutil.copy(trained / "checkpoint.pt", folder)
    with pytest.raises(UserError, match="was not trained, so that it has no checkpoint; leave the option out"):
        make_plan(evaluation(made, folder))


def test_an_edited_training_is_refused(made: Path, trained: Path) -> None:
    folder = finish(evaluation(made, trained))
    known = json.loads((folder / "run.json").read_text())["trained"]
    known["settings"]["recipe"]["iterations"] = 30_000
    edit_info(folder, trained=known)
    with pytest.raises(UserError, match="edited: the settings of the checkpoint's training"):
        read_run(folder)


def test_records_from_before_trainings_were_kept(made: Path, trained: Path) -> None:
    folder = finish(evaluation(made, trained))
    edit_info(folder, trained=None)
    assert "(training unknown)" in variants(made / "evaluated")[0]
    assert finish(replace(evaluation(made, trained), fresh=False)) == folder
    assert "(training unknown)" not in variants(made / "evaluated")[0]


def test_another_runs_checkpoint_in_the_folder_is_refused(made: Path, trained: Path) -> None:
    """It is whole and fits: only the identity in it tells that its numbers would be those of another training."""
    other = tiny_request(made, iterations=2, seed=5, settings=tiny_training())
    foreign = finish(other)
    shutil.copy(trained / "checkpoint.pt", foreign / "checkpoint.pt")
    with pytest.raises(UserError, match="written by another run"):
        make_plan(evaluation(made, foreign))
    with pytest.raises(UserError, match="written by another run"):
        open_run(foreign)
    edit_info(foreign, status="evaluating")
    with pytest.raises(UserError, match="written by another run"):
        finish(other)
