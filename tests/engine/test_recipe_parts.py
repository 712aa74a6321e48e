"""An optimiser, a schedule and an augmentation from outside the package, by the page that says how."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.recipe import OPTIMIZERS, Recipe, steps
from fsseg_bench.records.lines import read_lines
from tests.support.fresh import ROOT
from tests.support.tiny_run import tiny_request


def example(folder: Path, suffix: str = "") -> Path:
    """A folder with the page's file; what it adds lives as long as the process, under its names with a suffix."""
    page = (ROOT / "docs" / "howto" / "add-recipe-part.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name in ("nesterov", "halving", "darker"):
        text = text.replace(f'"{name}"', f'"{name}{suffix}"')
    (folder / "dark_baseline.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example(tmp_path_factory.mktemp("methods"))


def request(tmp_path: Path, folder: Path, **settings: Any) -> Any:
    given = {f"recipe.{key}": value for key, value in {"batch": 2, **settings}.items()}
    return tiny_request(
        tmp_path, method="dark-baseline", methods_path=str(folder), iterations=4, settings=given, episodes="2"
    )


def test_they_train_and_are_in_the_record(tmp_path: Path, folder: Path) -> None:
    record = execute(make_plan(request(tmp_path, folder)))
    recipe = record.info.settings.recipe
    assert (recipe["optimizer"], recipe["momentum"]) == ("nesterov", 0.8)
    assert (recipe["schedule"], recipe["augment"]) == ("halving", "darker")
    assert "betas" not in recipe
    rows = read_lines(record.folder / "train.jsonl")
    assert [row["lr"] for row in rows] == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    (group,) = torch.load(record.checkpoint, weights_only=True)["optimizer"]["param_groups"]
    assert group["nesterov"] is True


def test_other_code_of_the_same_name_is_another_run(tmp_path: Path, folder: Path) -> None:
    """Also where the method that uses it is one of the package's, which does not import it."""
    plan = make_plan(request(tmp_path, folder))
    built_in = replace(plan.request, method="baseline")
    usual = make_plan(replace(built_in, settings={"recipe.batch": 2}))
    named = make_plan(replace(built_in, settings={"recipe.batch": 2, "recipe.optimizer": "nesterov"}))
    assert usual.settings.method_digest != named.settings.method_digest


def test_what_it_does_not_read_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.betas means nothing to nesterov, which reads momentum; leave it out"):
        make_plan(request(tmp_path, folder, betas="0.9,0.9"))


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"two functions are called 'sgd', in .*steps and .*test_recipe_parts"):

        @OPTIMIZERS.add("sgd")
        def sgd(recipe: Any, groups: Any) -> Any:
            return None


def test_an_optimiser_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = example(tmp_path, "-bad") / "dark_baseline.py"
    file.write_text(file.read_text().replace("momentum=recipe.momentum", "momentum=0"))
    with pytest.raises(UserError, match=r"recipe\.optimizer=nesterov-bad \(.*\.nesterov\): Nesterov momentum requires"):
        make_plan(request(tmp_path, tmp_path))


def test_a_function_in_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(steps, "__file__")
    with pytest.raises(UserError, match=r"fsseg_bench\.recipe\.steps has no file"):
        make_plan(tiny_request(tmp_path, iterations=1))


def test_what_an_added_optimiser_reads_leaves_other_recipes_as_they_were() -> None:
    before = Recipe(iterations=1, batch=1, lr=0.1).settings()
    OPTIMIZERS.add("reads-more", reads=("gamma",))(lambda recipe, groups: torch.optim.SGD(groups, lr=recipe.lr))
    assert Recipe(iterations=1, batch=1, lr=0.1).settings() == before
    assert "gamma" in before
