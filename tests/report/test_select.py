"""Names, folders and filters: what they choose, and what is said where they choose nothing or too much."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.records.settings import CheckpointTraining
from fsseg_bench.report.contender import also_different
from fsseg_bench.report.select import select
from tests.support.runs import settings, write_run


def chosen(root: Path, *texts: str, **where: str) -> list[tuple[str, dict[int, list[int]]]]:
    """Label, and the seeds of each fold."""
    found = select(texts, root, {key.replace("__", "."): value for key, value in where.items()})
    return [(c.label, {fold: list(seeds) for fold, seeds in c.runs.items()}) for c in found.contenders]


def test_a_name_means_all_its_finished_runs(tmp_path: Path):
    write_run(tmp_path, fold=2, seed=3)
    write_run(tmp_path, fold=1, seed=3)
    write_run(tmp_path, fold=1, seed=0)
    write_run(tmp_path, fold=3, status="evaluating")
    write_run(tmp_path, method="biopt")
    assert chosen(tmp_path, "baseline", "biopt") == [("baseline", {1: [0, 3], 2: [3]}), ("biopt", {1: [0]})]
    assert chosen(tmp_path, "baseline", seed="3") == [("baseline", {1: [3], 2: [3]})]


def test_a_folder_of_one_run_and_of_several(tmp_path: Path):
    first, second = write_run(tmp_path), write_run(tmp_path, fold=2)
    assert chosen(Path("nowhere"), str(first)) == [("baseline", {1: [0]})]
    assert first.parent == second.parent
    assert chosen(Path("nowhere"), str(first.parent)) == [("baseline", {1: [0], 2: [0]})]
    assert chosen(Path("nowhere"), str(first.parent), fold="2") == [("baseline", {2: [0]})]


def test_several_settings_are_asked_about(tmp_path: Path):
    write_run(tmp_path, method="biopt")
    write_run(tmp_path, method="biopt", recipe={"iterations": 0, "lr": 0.001})
    with pytest.raises(
        UserError, match=r"biopt: runs with 2 different settings fit \(recipe.iterations: 0 / 100\)"
    ) as error:
        chosen(tmp_path, "biopt")
    assert "--where recipe.iterations=VALUE" in str(error.value)
    assert chosen(tmp_path, "biopt", recipe__iterations="0") == [("biopt", {1: [0]})]
    assert chosen(tmp_path, "biopt,iterations=100") == [("biopt", {1: [0]})]
    two = chosen(tmp_path, "biopt,iterations=0", "biopt,iterations=100")
    assert [label for label, _ in two] == ["biopt (iterations=0)", "biopt (iterations=100)"]


def test_other_protocols_shots_and_backbones_are_never_mixed(tmp_path: Path):
    for changes in (
        {},
        {"shot": 5},
        {"backbone": "resnet50"},
        {"protocol_label": "toy (x=1)", "protocol_digest": "b" * 64},
    ):
        write_run(tmp_path, **changes)
    with pytest.raises(UserError, match=r"4 different settings fit .*backbone: .*; shot: .*Choose with --dataset NAME"):
        chosen(tmp_path, "baseline")
    with pytest.raises(UserError, match="Choose with --backbone NAME for all, baseline,backbone=VALUE for this one"):
        chosen(tmp_path, "baseline", protocol_label="toy")
    where = {"shot": "1", "backbone": "resnet18", "dataset": "toy (x=1)"}
    assert chosen(tmp_path, "baseline", **where) == [("baseline", {1: [0]})]
    assert chosen(tmp_path, "baseline,protocol_digest=bbbbbb") == [("baseline", {1: [0]})]


def test_a_dataset_is_a_label_a_name_or_the_file_that_was_given(tmp_path: Path):
    write_run(tmp_path, passed={"dataset": "here/toy.toml"}, protocol="toy", protocol_label="toy (image.size=9)")
    for name in ("here/toy.toml", "toy", "toy (image.size=9)"):
        assert chosen(tmp_path, "baseline", dataset=name) == [("baseline", {1: [0]})]
    with pytest.raises(UserError, match=r"no run has dataset=tob; there is here/toy.toml, toy, toy \(image.size=9\)"):
        chosen(tmp_path, "baseline", dataset="tob")


@pytest.mark.parametrize(
    ("key", "text", "fits"),
    [
        ("scales", "[1]", True),
        ("scales", "[0.7, 1]", False),
        ("switches.soft", "true", True),
        ("switches.soft", "1", False),
        ("lr", "1e-3", True),
        ("lr", "fast", False),
        ("weights", "none", True),
        ("episode_digest", "eeeeee", True),
        ("episode_digest", "eee", False),
        ("weights_digest", "null", True),
    ],
)
def test_values_are_compared_by_type(tmp_path: Path, key: str, text: str, fits: bool):
    write_run(tmp_path, switches={"soft": True})
    if fits:
        assert chosen(tmp_path, "baseline", **{key.replace(".", "__"): text})
    else:
        with pytest.raises(UserError, match=f"no run has {key}="):
            chosen(tmp_path, "baseline", **{key.replace(".", "__"): text})


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["bioptt"], "unknown method among the runs 'bioptt'. Did you mean 'biopt'"),
        (["baseline,iteration=0"], "baseline,iteration=0: unknown setting 'iteration'. Did you mean"),
        (["baseline,same=1"], "same may be recipe.same or switches.same; give the whole name"),
        (["baseline,steps"], "use KEY=VALUE"),
        (["baseline,steps="], "baseline,steps= steps=: use KEY=VALUE"),
        (["baseline,lr=1,lr=2"], "lr is given twice"),
        (["no/such/folder"], "no/such/folder: no such folder"),
        (["biopt"], "biopt: its only run is not finished; give its command again"),
        (["baseline", "baseline"], "names one contender twice"),
        (["biopt", "baselin"], "unknown method among the runs 'baselin'. Did you mean 'baseline'"),
    ],
)
def test_mistakes(tmp_path: Path, texts: Sequence[str], told: str):
    write_run(tmp_path, recipe={"same": 1, "lr": 1, "iterations": 3}, switches={"same": 1})
    write_run(tmp_path, method="biopt", status="training")
    with pytest.raises(UserError, match=told):
        chosen(tmp_path, *texts)


def test_an_empty_folder_and_a_copy_of_a_run(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no usable run"):
        chosen(tmp_path, str(tmp_path / "empty"))
    folder = write_run(tmp_path / "runs")
    shutil.copytree(folder, tmp_path / "runs" / "copy")
    with pytest.raises(UserError, match="are the same run"):
        chosen(tmp_path / "runs", "baseline")


def test_a_checkpoint_is_found_by_its_training(tmp_path: Path):
    recipe = {"iterations": 40, "batch": 2, "lr": 0.001}
    for seed, digit in ((0, "1"), (3, "2")):
        own = settings(recipe=recipe, seed=seed)
        known = CheckpointTraining("checkpoint.pt", "/r", own.identity, own, own.to_json()).to_json()
        write_run(tmp_path, recipe={}, checkpoint_digest=digit * 64, extra={"trained": known})
    for digit in "34":
        write_run(tmp_path, method="biopt", recipe={}, checkpoint_digest=digit * 64)
    assert chosen(tmp_path, "baseline", recipe__iterations="40") == [("baseline", {1: [0, 3]})]
    with pytest.raises(UserError, match="evaluated different checkpoints; give one of the folders"):
        chosen(tmp_path, "biopt")
    write_run(tmp_path, recipe=recipe)
    with pytest.raises(UserError, match=r"parameters: checkpoint / own\)\. Choose with --where parameters=VALUE"):
        chosen(tmp_path, "baseline")
    assert chosen(tmp_path, "baseline,parameters=own") == [("baseline", {1: [0]})]
    assert chosen(tmp_path, "baseline,parameters=checkpoint") == [("baseline", {1: [0, 3]})]


def test_damaged_records_are_named(tmp_path: Path):
    write_run(tmp_path)
    broken = write_run(tmp_path, fold=2)
    (broken / "run.json").write_text("{")
    found = select(["baseline"], tmp_path, {})
    assert list(found.contenders[0].runs) == [1]
    assert [w.path for w in found.warnings] == [broken]


def test_what_else_differs(tmp_path: Path):
    write_run(tmp_path)
    write_run(
        tmp_path, method="biopt", method_digest="c" * 64, switches={}, seed=4, precision="bf16", recipe={"lr": 0.1}
    )
    a, b = select(["baseline", "biopt"], tmp_path, {}).contenders
    assert also_different(a, b) == [
        'precision: "fp32" / "bf16"',
        "recipe.iterations: 100 / not set",
        "recipe.lr: 0.001 / 0.1",
    ]


def test_training_episodes_that_differ_come_first(tmp_path: Path):
    write_run(tmp_path, recipe={"iterations": 30_000, "batch": 1, "freeze": "none"})
    write_run(tmp_path, method="biopt", recipe={"iterations": 10_000, "batch": 8, "freeze": "layer2"})
    assert also_different(*select(["baseline", "biopt"], tmp_path, {}).contenders) == [
        "training episodes: 30,000 (30,000 steps of 1) / 80,000 (10,000 steps of 8)",
        "recipe.batch: 1 / 8",
        'recipe.freeze: "none" / "layer2"',
        "recipe.iterations: 30000 / 10000",
    ]


def test_a_stage_that_one_alone_has_is_one_entry(tmp_path: Path):
    recipe = {"iterations": 20, "batch": 4}
    write_run(tmp_path, method="bam", stages={"base": {"network": "n", "images": "base", "recipe": recipe}})
    write_run(tmp_path)
    write_run(tmp_path, method="repri", stages={"base": {"network": "n", "released": "BAM's base", "parameters": "1"}})
    bam, baseline, repri = select(["bam", "baseline", "repri"], tmp_path, {}).contenders
    assert also_different(bam, baseline) == ['stages.base: "20 steps of 4 images" / "none"']
    assert also_different(bam, repri) == [
        'stages.base: "20 steps of 4 images" / "BAM\'s base, released, not trained here"'
    ]


def test_lists_of_two_experiments_are_never_one_contender(tmp_path: Path):
    """Each fold has its own digest in any case: what folds share is what their files are called."""
    for fold in (1, 2, 3, 4):
        given = f"/x/{'theirs' if fold < 3 else 'other'}-{fold}.csv"
        write_run(tmp_path, fold=fold, episode_digest=str(fold) * 64, passed={"episodes": given})
    with pytest.raises(UserError, match=r'baseline: runs with 2 different settings fit \(episodes: "?/x/'):
        chosen(tmp_path, "baseline")
    assert chosen(tmp_path, "baseline", episodes="theirs-{fold}.csv") == [("baseline", {1: [0], 2: [0]})]
    assert chosen(tmp_path, "baseline,episodes=/x/other-{fold}.csv") == [("baseline", {3: [0], 4: [0]})]
    write_run(tmp_path, seed=1)
    assert chosen(tmp_path, "baseline", episodes="none") == [("baseline", {1: [1]})]
    with pytest.raises(UserError, match=r"no run has episodes=x\.csv; there is /x/other-"):
        chosen(tmp_path, "baseline", episodes="x.csv")


def test_two_runs_on_other_test_images_are_told_apart(tmp_path: Path):
    for digit in "12":
        write_run(tmp_path, evaluated_digest=digit * 64)
    with pytest.raises(UserError, match=r"differ only in evaluated_digest: \"1+\" / \"2+\"; give one of the folders"):
        chosen(tmp_path, "baseline")
    (found,) = select(["baseline,evaluated_digest=222222"], tmp_path, {}).contenders
    assert found.settings.evaluated_digest == "2" * 64
