from __future__ import annotations

import dataclasses
import json

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.recipe import Recipe

RECIPE = Recipe(
    iterations=30_000,
    batch=4,
    lr=1e-3,
    schedule="step",
    milestones=(10_000, 20_000),
    sources={"lr": "paper, section 4", "batch": "ours"},
)


def test_values_are_parsed_by_the_type_of_the_field() -> None:
    given = {
        "iterations": "200",
        "lr": "2.5e-4",
        "momentum": "0",
        "schedule": "poly",
        "milestones": "10, 20,30",
        "freeze": "layer2",
        "bn": "train",
        "augment": "enlarged-crop",
        "train_shots": "5",
    }
    changed = RECIPE.with_settings(given)
    assert (changed.iterations, changed.lr, changed.momentum, changed.schedule) == (200, 2.5e-4, 0.0, "poly")
    assert (changed.milestones, changed.freeze, changed.bn) == ((10, 20, 30), "layer2", "train")
    assert (changed.augment, changed.train_shots) == ("enlarged-crop", 5)
    assert (changed.batch, changed.weight_decay) == (4, 5e-4)
    assert RECIPE.iterations == 30_000


def test_a_list_may_be_emptied() -> None:
    assert RECIPE.with_settings({"milestones": ""}).milestones == ()


def test_what_the_user_set_is_said_so() -> None:
    changed = RECIPE.with_settings({"lr": "0.01", "clip": "1"})
    assert changed.sources == {"lr": "set by the user", "batch": "ours", "clip": "set by the user"}
    assert RECIPE.with_settings({}) == RECIPE


OF_EACH_RUN = {
    *("iterations", "batch", "lr", "momentum", "weight_decay", "schedule", "milestones", "gamma", "warmup", "clip"),
    *("head_lr_factor", "lr_factors", "bias_lr_factor", "bias_decay", "freeze", "bn", "augment", "train_shots"),
}
"""What the first version's records say of a recipe: runs by SGD are known by exactly these."""


@pytest.mark.parametrize(
    ("given", "left_out", "more"),
    [
        ({}, set(), {}),
        ({"optimizer": "sgd"}, set(), {}),
        ({"optimizer": "sgd-nesterov"}, set(), {"optimizer": "sgd-nesterov"}),
        ({"optimizer": "adam"}, {"momentum"}, {"optimizer": "adam", "betas": [0.9, 0.999], "eps": 1e-8}),
        (
            {"optimizer": "adamw", "betas": "0.8,0.95", "eps": "1e-6"},
            {"momentum"},
            {"optimizer": "adamw", "betas": [0.8, 0.95], "eps": 1e-6},
        ),
    ],
)
def test_settings_are_what_the_optimiser_reads(given: dict, left_out: set[str], more: dict) -> None:
    settings = RECIPE.with_settings(given).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings == {key: value for key, value in RECIPE.settings().items() if key not in left_out} | more
    assert set(settings) == (OF_EACH_RUN - left_out) | set(more)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"optimizer": "adam", "momentum": "0.8"},
            "recipe.momentum means nothing to adam, which reads betas, eps; leave it out",
        ),
        ({"betas": "0.8,0.9"}, "recipe.betas means nothing to sgd, which reads momentum; leave it out"),
    ],
)
def test_what_the_optimiser_does_not_read_is_refused(given: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        RECIPE.with_settings(given)
    assert str(error.value) == message
    momentum = dataclasses.replace(RECIPE, momentum=0.99)  # of the method's recipe, for SGD
    assert "momentum" not in momentum.with_settings({"optimizer": "adam"}).settings()


def test_settings_are_plain_values() -> None:
    settings = RECIPE.settings()
    assert settings["milestones"] == [10_000, 20_000]
    assert dataclasses.replace(RECIPE, sources={}).settings() == settings
    assert RECIPE.with_settings({"gamma": "0.5"}).settings() == {**settings, "gamma": 0.5}


@pytest.mark.parametrize(
    ("key", "near"), [("iteration", "iterations"), ("learning_rate", ""), ("milestone", "milestones")]
)
def test_unknown_keys_show_near_matches(key: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown recipe key '{key}'") as error:
        RECIPE.with_settings({key: "1"})
    assert not near or f"Did you mean '{near}'" in str(error.value)
    assert "augment, batch, betas, bias_decay" in str(error.value)


def test_sources_cannot_be_set() -> None:
    with pytest.raises(UserError, match="unknown recipe key 'sources'"):
        RECIPE.with_settings({"sources": "x"})


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("iterations", "many", "recipe.iterations=many is not a whole number"),
        ("iterations", "1e3", "recipe.iterations=1e3 is not a whole number"),
        ("iterations", "", "recipe.iterations= is not a whole number"),
        ("lr", "small", "recipe.lr=small is not a number"),
        ("lr", "nan", "recipe.lr=nan is not a finite number"),
        ("momentum", "nan", "recipe.momentum=nan is not a finite number"),
        ("clip", "inf", "recipe.clip=inf is not a finite number"),
        ("milestones", "10,x", "recipe.milestones=x is not a whole number"),
        ("betas", "0.9", "recipe.betas=0.9 is not a list of 2 values"),
        ("betas", "0.9,1", "recipe.betas[1] is 1.0; it must be at least 0 and below 1"),
        ("eps", "0", "recipe.eps is 0.0; it must be above 0"),
        ("bn", "", "recipe.bn= is not allowed; use one of: eval, train, stats"),
        ("iterations", "-1", "recipe.iterations is -1; it must be at least 0 and at most 1000000000"),
        ("batch", "0", "recipe.batch is 0; it must be at least 1 and at most 1024"),
        ("batch", "100000", "recipe.batch is 100000; it must be at least 1 and at most 1024"),
        ("lr", "0", "recipe.lr is 0.0; it must be above 0"),
        ("lr", "-1", "recipe.lr is -1.0; it must be above 0"),
        ("gamma", "0", "recipe.gamma is 0.0; it must be above 0"),
        ("momentum", "1", "recipe.momentum is 1.0; it must be at least 0 and below 1"),
        ("momentum", "-0.1", "recipe.momentum is -0.1; it must be at least 0 and below 1"),
        ("weight_decay", "-1e-4", "recipe.weight_decay is -0.0001; it must be at least 0"),
        ("warmup", "-5", "recipe.warmup is -5; it must be at least 0 and at most 1000000000"),
        ("clip", "-1", "recipe.clip is -1.0; it must be at least 0"),
        ("head_lr_factor", "-1", "recipe.head_lr_factor is -1.0; it must be at least 0"),
        ("train_shots", "-1", "recipe.train_shots is -1; it must be at least 0 and at most 1000"),
        ("milestones", "20,10", "recipe.milestones is [20, 10]; it must be ascending, from 1"),
        ("milestones", "10,10", "recipe.milestones is [10, 10]; it must be ascending, from 1"),
        ("milestones", "0,10", "recipe.milestones is [0, 10]; it must be ascending, from 1"),
    ],
)
def test_wrong_values_say_what_is_allowed(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        RECIPE.with_settings({key: text})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("key", "text", "near"), [("schedule", "stp", "step"), ("optimizer", "sdg", "sgd"), ("augment", "flp", "flip")]
)
def test_names_that_mean_nothing_show_near_matches(key: str, text: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"^unknown recipe\.{key} '{text}'\. Did you mean '{near}'\? Known: "):
        RECIPE.with_settings({key: text})


@pytest.mark.parametrize("key", ["lr", "momentum", "gamma", "clip", "weight_decay", "head_lr_factor"])
def test_no_number_slips_past_the_check_of_a_recipe_made_in_code(key: str) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"recipe.{key} is {value}"):
            dataclasses.replace(RECIPE, **{key: value}).checked()
    assert RECIPE.checked() is RECIPE


@pytest.mark.parametrize(("former", "name"), [("canet", "enlarged-crop-supports"), ("canet-both", "enlarged-crop")])
def test_former_names_of_augmentations_are_the_same_training(former: str, name: str) -> None:
    recipe = RECIPE.with_settings({"augment": former})
    assert recipe == RECIPE.with_settings({"augment": name})
    assert dataclasses.replace(RECIPE, augment=former).settings()["augment"] == recipe.settings()["augment"] == name
