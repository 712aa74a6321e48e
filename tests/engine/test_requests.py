"""What one command asks for: which methods, folds and seeds are meant, and the backbone that they share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.requests import ALL, COMMON_BACKBONE, TRAINING_FREE, requests_for
from fsseg_bench.errors import UserError
from fsseg_bench.registry import find_method, method_names
from tests.support.tiny_run import tiny_request


def backbones(methods: list[str], **given: str) -> tuple[list[str | None], str]:
    found = requests_for(methods, [1], **{"dataset": "pascal5i", **given})
    return [request.backbone for request in found.requests], " | ".join([*found.notes, *found.details])


def test_several_methods_share_one_backbone() -> None:
    found, note = backbones(["panet", "biopt", "dan"])
    assert found == [COMMON_BACKBONE] * 3 == ["resnet50"] * 3
    assert note == (
        "backbone: resnet50 for all methods, weights imagenet | published backbones: panet vgg16, biopt resnet50, dan "
        "resnet101; --backbone published gives each method its own"
    )


def test_the_embedded_images_have_a_light_one() -> None:
    found, note = backbones(["panet", "biopt"], dataset="shapes5i")
    assert found == ["resnet18-layer2"] * 2
    assert "resnet18-layer2 for all methods, weights none" in note


def test_a_single_method_has_its_own_and_says_so() -> None:
    assert backbones(["panet"]) == ([None], "backbone: vgg16, panet's own")
    found, note = backbones(["panet", "panet"])
    assert found == [None]
    assert note == "--method panet is given twice; it is run once | backbone: vgg16, panet's own"
    _, note = backbones(["panet"], dataset="shapes5i")
    assert note == "backbone: resnet18-layer2, the light one for embedded images (panet's own: vgg16)"


def test_a_named_one_is_taken() -> None:
    assert backbones(["panet", "biopt"], backbone="resnet18") == (["resnet18"] * 2, "")


def test_published_gives_each_its_own() -> None:
    found, note = backbones(["panet", "biopt"], backbone="published")
    assert found == ["published"] * 2
    assert note == "backbone: each method's published one (panet vgg16, biopt resnet50)"


def test_folds_and_seeds_of_each_method() -> None:
    found = requests_for(["panet", "biopt"], None, [3, 0], dataset="shapes5i", shot=5)
    assert [(r.method, r.seed, r.fold) for r in found.requests] == [
        (method, seed, fold) for method in ("panet", "biopt") for seed in (3, 0) for fold in (1, 2, 3, 4)
    ]
    assert {r.shot for r in found.requests} == {5}
    assert [r.seed for r in requests_for(["panet"], [1], dataset="shapes5i", seed=7).requests] == [7]


def test_all_methods_that_can_do_so_many_ways() -> None:
    found = requests_for([ALL], [1], dataset="shapes5i")
    assert [r.method for r in found.requests] == method_names()
    assert {r.iterations for r in found.requests} == {None}
    two = requests_for([ALL], [1], dataset="shapes5i", way=2)
    able = [name for name in method_names() if find_method(name).max_ways is None]
    assert [r.method for r in two.requests] == able
    left_out = ", ".join(name for name in method_names() if name not in able)
    assert two.notes[0] == f"left out, since they do no 2-way episodes: {left_out}"


def test_methods_that_work_untrained_are_not_trained() -> None:
    found = requests_for([TRAINING_FREE], [1], dataset="shapes5i")
    assert {"baseline", "panet"} <= {r.method for r in found.requests} < set(method_names())
    assert {r.iterations for r in found.requests} == {0}
    assert "nothing is trained, as by --iterations 0" in found.notes
    trained = requests_for([TRAINING_FREE], [1], dataset="shapes5i", iterations=5)
    assert {r.method for r in trained.requests if r.iterations != 5} == {"dino-map", "insid3"}
    assert "dino-map, insid3: nothing is trained; --iterations is of the other methods" in trained.notes


def test_a_method_that_trains_nothing_refuses_iterations(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, method="insid3", iterations=5)
    with pytest.raises(UserError, match="insid3 trains nothing, so it cannot be trained for 5 iterations; leave out"):
        make_plan(request)
    assert make_plan(replace(request, iterations=None)).recipe.iterations == 0


@pytest.mark.parametrize("group", [ALL, TRAINING_FREE])
def test_a_group_stands_alone(group: str) -> None:
    with pytest.raises(UserError, match=f"--method {group} stands alone"):
        requests_for(["panet", group], [1], dataset="shapes5i")


def test_methods_of_a_folder_belong_to_all(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "methods" / "example" / "nearest_mean.py"
    (tmp_path / "mine.py").write_text(example.read_text())
    found = requests_for([ALL], [1], dataset="shapes5i", methods_path=str(tmp_path))
    assert "mine" in {r.method for r in found.requests}
