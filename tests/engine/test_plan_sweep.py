"""A sweep planned: its cells are the runs that their commands make."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from fsseg_bench.cli.main import main
from fsseg_bench.engine import outline as outlining
from fsseg_bench.engine import plan as plans
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.plan_sweep import plan_sweep
from fsseg_bench.engine.requests import requests_for
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import CHECKPOINT_FILE, read_info
from fsseg_bench.sweeps.options import keys_named
from fsseg_bench.sweeps.plan import Cell, Plan, read_plan, sweep_folder, write_plan
from fsseg_bench.sweeps.spec import Spec
from fsseg_bench.sweeps.states import states_of
from tests.support.tiny_run import finish, tiny_request, tiny_training
from tests.support.tiny_sweep import Heard, tiny_sweep

STAGED = str(Path(__file__).parents[1] / "fixtures" / "staged")
OWN = {"method": "staged", "methods_path": STAGED, "iterations": 2}


def planned(spec: Spec, root: Path) -> tuple[Plan, list[str]]:
    heard = Heard()
    return plan_sweep(spec, root, heard), heard.said


def options_of(cell: Cell) -> Mapping[str, str]:
    """The options of a command that have a value."""
    words = cell.command
    return {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}


def test_a_cell_is_the_run_that_a_request_makes(tmp_path: Path) -> None:
    """Identity, folder and steps are those of a plan that knows nothing of sweeps."""
    spec = tiny_sweep(tmp_path, grid={"fold": [1, 2], "seed": [0, 3], "set": {"recipe.lr": [0.02]}})
    plan, _ = planned(spec, tmp_path / "runs")
    assert [cell.label for cell in plan.cells] == [
        f"baseline-tiny-voc-{digits}-1shot-fold{fold}-seed{seed}-recipe.lr=0.02"
        for seed in (0, 3)
        for fold in (1, 2)
        for digits in [plan.cells[0].label.split("-")[3]]
    ]
    for cell, (seed, fold) in zip(plan.cells, [(0, 1), (0, 2), (3, 1), (3, 2)], strict=True):
        settings = tiny_training(**{"recipe.lr": "0.02"})
        own = make_plan(tiny_request(tmp_path, iterations=2, fold=fold, seed=seed, settings=settings)).settings
        assert cell.identity == own.identity
        assert cell.folder == f"tiny-voc/baseline-resnet18-layer2/1way-1shot/fold{fold}-seed{seed}-{own.identity[:8]}"
        assert (cell.train, cell.evaluate, cell.waits_for) == (2, 12, None)
        assert (cell.options["fold"], cell.options["seed"], cell.options["recipe.lr"]) == (fold, seed, 0.02)


def test_a_command_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder and under any environment it names the same paths, and the numbers of threads and workers."""
    tiny_request(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSSEG_DATA", "data")
    spec = tiny_sweep(tmp_path, common={"dataset": "tiny-voc.toml"}, cell={"workers": 0, "threads": 3})
    threads = torch.get_num_threads()
    plan, said = planned(spec, Path("runs"))
    assert torch.get_num_threads() == threads
    (cell,) = plan.cells
    assert cell.command[0] == "run"
    assert {"--quiet", "--no-estimate"} <= set(cell.command)
    assert "--identity" not in cell.command
    given = options_of(cell)
    assert given["--dataset"] == str(tmp_path / "tiny-voc.toml")
    assert given["--data-root"] == str(tmp_path / "data")
    assert given["--out"] == str(tmp_path / "runs")
    assert (given["--threads"], given["--workers"], given["--fold"]) == ("3", "0", "1")
    assert not [line for line in said if "threads" in line]


def test_the_threads_are_planned_and_said(tmp_path: Path) -> None:
    plan, said = planned(tiny_sweep(tmp_path), tmp_path)
    assert options_of(plan.cells[0])["--threads"] == "1"
    assert [line for line in said if line.startswith("threads: 1 a cell, on any machine")]


def test_the_kind_of_device_is_in_the_plan(tmp_path: Path) -> None:
    plan, _ = planned(tiny_sweep(tmp_path, common={"device": "auto"}, cell={"gpus": 1}), tmp_path)
    assert options_of(plan.cells[0])["--device"] == "cuda"
    assert plan.needs.gpus == 1
    with pytest.raises(UserError, match="--precision tf32"):
        planned(tiny_sweep(tmp_path, common={"precision": "tf32"}), tmp_path)


@pytest.mark.slow
def test_methods_share_a_backbone_whichever_grid_they_are_in(tmp_path: Path) -> None:
    common: dict[str, Any] = {"backbone": None, "iterations": 0, "set": {}}
    grids: dict[str, Any] = {"grid": {"method": ["panet"]}, "also": [{"method": "biopt", "shot": 2}]}
    plan, said = planned(tiny_sweep(tmp_path, common=common, **grids), tmp_path)
    assert [options_of(cell)["--backbone"] for cell in plan.cells] == ["resnet50"] * 2
    assert "backbone: resnet50 for all methods, weights none" in said
    # the same as `run` chooses for the two methods together
    given = tiny_request(tmp_path, backbone=None).given()
    given = {key: value for key, value in given.items() if key not in {"method", "out"}}
    run = requests_for(["panet", "biopt"], [1], **given).requests[0]
    assert plan.cells[0].identity == make_plan(run).settings.identity
    alone, said = planned(tiny_sweep(tmp_path, common=common, grid=grids["grid"]), tmp_path)
    assert options_of(alone.cells[0])["--backbone"] == "vgg16"


@pytest.mark.slow
def test_all_methods_and_those_that_need_no_training(tmp_path: Path) -> None:
    spec = tiny_sweep(tmp_path, common={"iterations": None, "way": 2, "set": {}}, grid={"method": ["training-free"]})
    plan, said = planned(spec, tmp_path)
    run = requests_for(
        ["training-free"], [1], dataset=spec.common["dataset"], way=2, backbone="resnet18-layer2"
    ).requests
    assert [cell.options["method"] for cell in plan.cells] == [request.method for request in run]
    assert {cell.train for cell in plan.cells} == {0}
    assert "training-free: nothing is trained, as by --iterations 0" in said


def test_equal_runs_are_made_once(tmp_path: Path) -> None:
    """Two options that come to the same: what differs in words is one identity."""
    spec = tiny_sweep(tmp_path, grid={"set": {"recipe.lr": [0.01, "1e-2"]}})
    plan, said = planned(spec, tmp_path)
    assert len(plan.cells) == 1
    assert any("recipe.lr=1e-2 is the same run as" in line and "made once" in line for line in said)


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    grid = {"method": ["baseline", "panett", "canet"], "way": [1, 2], "set": {"recipe.batch": [2, 0]}}
    spec = tiny_sweep(tmp_path, grid=grid)
    with pytest.raises(UserError) as error:
        planned(spec, tmp_path / "runs")
    lines = str(error.value).splitlines()
    assert lines[0] == "tiny.toml: 9 of 12 cells cannot be made; nothing was written"
    assert any("unknown method 'panett'" in line for line in lines)
    assert any("recipe.batch" in line and "at least 1" in line for line in lines)
    assert any("canet does at most 1-way episodes" in line for line in lines)
    assert not (tmp_path / "runs").exists()


def test_planning_needs_the_data(tmp_path: Path) -> None:
    spec = tiny_sweep(tmp_path, common={"dataset": "pascal5i", "weights": None}, grid={"shot": [1, 5]})
    with pytest.raises(UserError) as error:
        planned(spec, tmp_path / "runs")
    text = str(error.value)
    assert "a sweep is planned where its data and weights are" in text
    assert "the data of pascal5i were not found" in text
    assert text.count("were not found") == 1


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan, _ = planned(tiny_sweep(tmp_path, slurm={"partition": "gpu"}, cell={"minutes": 5}), tmp_path)
    write_plan(sweep_folder(tmp_path, "tiny"), plan)
    assert read_plan(sweep_folder(tmp_path, "tiny")) == plan


def test_each_fold_has_its_list_of_episodes(tmp_path: Path) -> None:
    for fold in (1, 2):
        table = make_plan(tiny_request(tmp_path, fold=fold, episodes="8")).table
        table.to_csv(tmp_path / f"mine-{fold}.csv")
    spec = tiny_sweep(tmp_path, common={"episodes": str(tmp_path / "mine-{fold}.csv"), "iterations": 0, "fold": "all"})
    with pytest.raises(UserError, match=r"2 of 4 cells cannot be made"):
        planned(spec, tmp_path)
    plan, _ = planned(replace(spec, grid={"fold": (1, 2)}), tmp_path)
    assert [options_of(cell)["--episodes"] for cell in plan.cells] == [str(tmp_path / f"mine-{f}.csv") for f in (1, 2)]
    assert [cell.evaluate for cell in plan.cells] == [8, 8]


def test_an_unknown_protocol_is_an_error_of_planning(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"1 of 1 cells cannot be made.*\n  baseline-shapes6i.*unknown dataset 'shapes6i'"
    ):
        planned(tiny_sweep(tmp_path, common={"dataset": "shapes6i"}), tmp_path)


def test_what_cells_have_in_common_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds a sweep, not seconds a cell: a model for each method, a table for each fold and shot."""
    made: Counter[str] = Counter()

    def counted(module: ModuleType, name: str) -> None:
        whole = getattr(module, name)

        def counting(*given: Any, **named: Any) -> Any:
            made[name] += 1
            return whole(*given, **named)

        monkeypatch.setattr(module, name, counting)

    counted(outlining, "assemble")
    counted(plans, "method_digest")
    counted(plans, "sample_episodes")
    grid = {
        "method": ["baseline", "panet"],
        "shot": [1, 2],
        "fold": [1, 2],
        "seed": [0, 1, 2],
        "scales": [[1.0], [0.7]],
    }
    plan, _ = planned(tiny_sweep(tmp_path, grid=grid), tmp_path)
    assert len(plan.cells) == 48
    assert made == {"assemble": 2, "method_digest": 2, "sample_episodes": 4}


# Trainings that several cells share


def test_a_cell_waits_for_the_training_whose_checkpoint_it_evaluates(tmp_path: Path) -> None:
    spec = tiny_sweep(tmp_path, grid={"shot": [2, 1], "seed": [0, 1]}, training={"shot": 1})
    plan, _ = planned(spec, tmp_path / "runs")
    assert [cell.label.partition("shot")[0][-1] + cell.label[-5:] for cell in plan.cells] == [
        *("1seed0", "2seed0", "1seed1", "2seed1"),
    ]
    for training, evaluation in zip(plan.cells[::2], plan.cells[1::2], strict=True):
        assert evaluation.waits_for == training.label
        assert (training.train, evaluation.train) == (2, 0)
        assert options_of(evaluation)["--eval-only"] == str(tmp_path / "runs" / training.folder)
        assert evaluation.folder.endswith("/1way-2shot/fold1-checkpoint-*")
        assert not {"--iterations", "--weights", "--seed"} & set(evaluation.command)
        assert "recipe." not in " ".join(evaluation.command)
    assert plan.cells[1].identity == plan.cells[3].identity  # which checkpoint it is, nobody knows yet
    assert len({cell.label for cell in plan.cells}) == 4


def test_a_training_that_no_cell_is_becomes_one(tmp_path: Path) -> None:
    plan, _ = planned(tiny_sweep(tmp_path, grid={"shot": [1, 2]}, training={"shot": 3, "iterations": 1}), tmp_path)
    training, *evaluations = plan.cells
    assert training.label.endswith("3shot-fold1-seed0-iterations=1")
    assert training.train == 1
    assert [cell.waits_for for cell in evaluations] == [training.label] * 2


def test_what_is_evaluated_untrained_waits_for_nothing(tmp_path: Path) -> None:
    spec = tiny_sweep(tmp_path, common={"iterations": 0}, grid={"shot": [1, 2]}, training={"shot": 1})
    assert [cell.waits_for for cell in planned(spec, tmp_path)[0].cells] == [None, None]


def test_a_checkpoint_of_another_method_or_fold_is_refused(tmp_path: Path) -> None:
    spec = tiny_sweep(tmp_path, grid={"fold": [1, 2]}, training={"fold": 1})
    with pytest.raises(UserError, match=r"1 of 2 cells cannot be made.*\n.*it has seen classes of fold 2"):
        planned(spec, tmp_path)
    spec = tiny_sweep(tmp_path, grid={"method": ["panet", "baseline"]}, training={"method": "baseline"})
    with pytest.raises(UserError, match="this is a checkpoint of baseline, not of panet"):
        planned(spec, tmp_path)


def made(cell: Cell) -> None:
    """Makes a cell by its command, in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*cell.command, "--identity", cell.identity])
    assert ended.value.code in {0, None}


def test_messages_name_the_keys_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--way 2: .*\n *\(in a sweep's file: --way is way, --merge is merge\)"):
        planned(tiny_sweep(tmp_path, common={"method": "panet"}, grid={"way": [2], "method": ["bam"]}), tmp_path)
    assert keys_named(["no option", "a--b"]) == ""
    assert keys_named(["--set shots=5", "--threads 3 and --data-root"]) == (
        "in a sweep's file: --set is a key of set, as set = { recipe.lr = 0.01 }, --threads is threads of [cell], "
        "--data-root is data_root"
    )


# What is trained before methods


def staged(folder: Path, **grid: Any) -> Spec:
    return tiny_sweep(folder, common={"method": "staged", "methods_path": STAGED}, grid=grid)


def test_a_stage_that_several_cells_need_is_a_cell_for_which_they_wait(tmp_path: Path) -> None:
    plan, _ = planned(staged(tmp_path, shot=[1, 2], fold=[1, 2]), tmp_path / "runs")
    stages = [cell for cell in plan.cells if cell.is_stage]
    runs = [cell for cell in plan.cells if not cell.is_stage]
    assert [(cell.train, cell.evaluate, cell.waits_for) for cell in stages] == [(4, 0, None)] * 2
    assert [cell.label for cell in stages] == [f"stage-base-{cell.label}" for cell in runs[:2]]
    assert [cell.waits_for for cell in runs] == [cell.label for cell in stages] * 2
    known = [cell.label for cell in plan.cells]
    assert all(known.index(cell.waits_for or "") < known.index(cell.label) for cell in runs)
    for stage, run in zip(stages, runs, strict=False):
        own = make_plan(replace(tiny_request(tmp_path, **OWN), fold=run.options["fold"])).stages[0].key
        assert (stage.identity, stage.folder) == (own.identity, own.folder(Path()).as_posix())


def test_a_stage_that_one_cell_needs_is_a_part_of_it(tmp_path: Path) -> None:
    plan, _ = planned(staged(tmp_path, fold=[1, 2]), tmp_path / "runs")
    assert [(cell.is_stage, cell.waits_for) for cell in plan.cells] == [(False, None)] * 2
    shared = tiny_sweep(
        tmp_path,
        common={"method": "staged", "methods_path": STAGED},
        grid={"shot": [1, 2]},
        training={"shot": 1},
    )
    assert not any(cell.is_stage for cell in planned(shared, tmp_path / "runs")[0].cells)


@pytest.mark.slow
def test_states_of_stages_and_of_cells_that_wait_for_them(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    plan, _ = planned(staged(tmp_path, shot=[1, 2]), root)
    folder = sweep_folder(root, "tiny")
    write_plan(folder, plan)
    stage, *runs = plan.cells
    assert [state.state for state in states_of(folder)] == ["waiting"] * 3
    assert stage.label in states_of(folder)[1].reason
    made(stage)
    found = states_of(folder)
    assert [state.state for state in found] == ["done", "waiting", "waiting"]
    assert (found[0].train, found[0].folder, found[1].reason) == (4, root / stage.folder, "")
    assert found[0].train_seconds is not None
    assert not list(root.rglob("run.json"))
    for cell in runs:
        made(cell)
        facts = json.loads((root / cell.folder / "run.json").read_text())["stages"]["base"]
        assert (facts["trained"], facts["identity"]) == ("earlier", stage.identity)
    assert [state.state for state in states_of(folder)] == ["done"] * 3
    (root / stage.folder / CHECKPOINT_FILE).unlink()
    assert states_of(folder)[0].state == "stopped"


def test_a_stage_is_the_one_that_was_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = planned(staged(tmp_path, shot=[1, 2]), tmp_path / "runs")[0].cells[0]
    for words, told in (
        ((*stage.command, "--identity", "0" * 64), f"identity is {stage.identity}"),
        ((*stage.command[:-1], "bass"), "'base'"),
        ((*stage.command, "--dry-run"), "exclude each other"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_records_made_later_are_those_that_were_planned(tmp_path: Path) -> None:
    """States are told from records that the commands made, trainings and the evaluations that waited for them."""
    root = tmp_path / "runs"
    spec = tiny_sweep(tmp_path, grid={"shot": [1, 2], "seed": [0, 1]}, training={"shot": 1})
    plan, _ = planned(spec, root)
    folder = sweep_folder(root, spec.name)
    write_plan(folder, plan)
    assert [state.state for state in states_of(folder)] == ["waiting"] * 4
    for number, cell in enumerate(plan.cells, start=1):
        made(cell)
        states = [state.state for state in states_of(folder)]
        assert states == ["done"] * number + ["waiting"] * (4 - number)
    for state in states_of(folder):
        assert state.folder is not None
        info = read_info(state.folder / "run.json")
        if state.cell.waits_for is None:
            assert info.identity == state.cell.identity
        else:
            training = plan.by_label[state.cell.waits_for]
            assert info.trained is not None
            assert info.trained.identity == training.identity
            assert replace(info.settings, checkpoint_digest=None).identity == state.cell.identity
            assert (root / training.folder / CHECKPOINT_FILE).is_file()
    again, _ = planned(spec, root)
    assert again.cells == plan.cells


@pytest.mark.slow
def test_the_size_of_a_record_is_told_before(tmp_path: Path) -> None:
    settings = {key.removeprefix("set."): value for key, value in tiny_sweep(tmp_path).common.items() if "." in key}
    cases: list[dict[str, Any]] = [
        {},
        {"iterations": 0},
        {"method": "panet", "shot": 2},
        {"keep_checkpoints": 2, "shot": 2},
    ]
    for changes in cases:
        plan, _ = planned(tiny_sweep(tmp_path, common=changes), tmp_path / "runs")
        place = finish(tiny_request(tmp_path, **{"iterations": 2, "settings": settings, **changes}))
        assert str(place).endswith(plan.cells[0].folder)
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        assert 0.7 * size < plan.cells[0].bytes < 1.6 * size, (changes, size, plan.cells[0].bytes)
