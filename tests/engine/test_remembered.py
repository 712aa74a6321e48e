"""What plans share within one planning: never what differs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.engine.batch import Planner
from fsseg_bench.engine.remembered import FORGETFUL, Remembered
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import write_protocol, write_voc
from tests.support.tiny_run import tiny_request, tiny_training


def test_what_was_made_is_kept_by_kind_and_key_and_what_raises_is_not() -> None:
    kept, made = Remembered(), list[str]()

    def make(text: str) -> str:
        made.append(text)
        if text == "wrong":
            raise UserError(text)
        return text

    assert [kept.get("a", key, partial(make, str(key))) for key in (1, 1, "1")] == ["1", "1", "1"]
    assert kept.get("b", 1, lambda: make("b")) == "b"
    for _ in range(2):
        with pytest.raises(UserError):
            kept.get("a", "wrong", lambda: make("wrong"))
    assert made == ["1", "1", "b", "wrong", "wrong"]
    assert FORGETFUL.get("a", 1, lambda: make("new")) == FORGETFUL.latest("a", 1, lambda: make("new"))
    assert made[-2:] == ["new", "new"]


def test_few_large_things_are_kept() -> None:
    kept, made = Remembered(), list[int]()

    def use(key: int) -> None:
        kept.latest("model", key, lambda: made.append(key))

    for key in (1, 2, 1, 2, 3, 2, 1):
        use(key)
    assert made == [1, 2, 3, 1]


def mixed(folder: Path) -> list[RunRequest]:
    """Requests that differ in one thing each, some of them in what has a part in one method alone."""
    first = tiny_request(folder, iterations=2, settings=tiny_training())
    write_voc(folder / "other" / "tiny-voc", train=5, val=7)  # beside a file of the same content, other data
    other = write_protocol(folder / "other" / "tiny-voc.toml", size=64, count=12)
    changes: list[dict[str, Any]] = [
        {},
        {"fold": 2},
        {"seed": 3},
        {"shot": 2},
        {"way": 2},
        {"method": "panet"},
        {"method": "biopt"},
        {"method": "ppnet-ud"},
        {"method": "ppnet-ud", "shot": 2},
        {"method": "ppnet-ud", "settings": tiny_training() | {"unlabelled": "2"}},
        {"method": "panet", "settings": tiny_training() | {"align_weight": "0"}},
        {"backbone": "resnet18-layer3"},
        {"iterations": 0},
        {"iterations": 3},
        {"scales": (0.7, 1.0)},
        {"episodes": "8"},
        {"precision": "bf16"},
        {"no_check": True},
        {"settings": tiny_training(**{"recipe.freeze": "layer1"})},
        {"settings": tiny_training(**{"recipe.optimizer": "adam"})},
        {"settings": tiny_training(**{"recipe.augment": "flip"})},
        {"settings": tiny_training(**{"protocol.image.size": "96"})},
        {"settings": tiny_training(**{"protocol.episodes.seed": "8"})},
        {"settings": tiny_training(**{"protocol.data.min_object_pixels": "200"})},
        {"dataset": str(other)},
        {"dataset": "shapes5i", "episodes": "40"},
    ]
    return [replace(first, **change) for change in changes]


@pytest.mark.slow
def test_plans_that_share_are_those_that_do_not(tmp_path: Path) -> None:
    requests = mixed(tmp_path)
    opened, opened_alone = OpenSources(), OpenSources()
    sharing = Planner(opened, False, None, Remembered())
    identities = set()
    for request in [*requests[::2], *requests[1::2]]:
        sharing.plan(request)
    for request in requests[::-1]:  # in another order, from what is kept by now
        together = sharing.plan(request, keep=True)
        alone = Planner(opened_alone, False, None).plan(request, keep=True)
        assert together.settings == alone.settings
        assert (together.left, together.episodes, together.images) == (alone.left, alone.episodes, alone.images)
        one, other = together.plan(opened), alone.plan(opened_alone)
        for name in ("table", "further", "evaluated", "remarks", "weights", "recipe", "switches"):
            assert getattr(one, name) == getattr(other, name), name
        shapes = [{name: value.shape for name, value in plan.model.state_dict().items()} for plan in (one, other)]
        assert shapes[0] == shapes[1]
        identities.add(alone.settings.identity)
    assert len(identities) == len(requests) - 1  # whether images are decoded before is no setting


@pytest.mark.parametrize("change", [{"settings": {"recipe.freeze": "all"}}, {"settings": {"recipe.lr_factors": "x=2"}}])
def test_a_recipe_that_fails_fails_behind_one_that_does_not(tmp_path: Path, change: dict[str, Any]) -> None:
    planner = Planner({}, False, None, Remembered())
    first = tiny_request(tmp_path, iterations=2, settings=tiny_training())
    planner.plan(first)
    for _ in range(2):
        with pytest.raises(UserError, match="recipe"):
            planner.plan(replace(first, **change))
    planner.plan(first)
