"""What is said of a method before it runs, against the method itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.made_up import evaluation_episode
from fsseg_bench.engine.method_facts import method_facts
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.registry import find_method, training_free
from tests.support.backbones import write_backbone


def _logits(method: Method) -> torch.Tensor:
    found = method.predict(evaluation_episode(method, batch=1, way=method.max_ways or 2, shot=2))
    return (found if isinstance(found, torch.Tensor) else found.logits).detach()


@pytest.mark.parametrize("name", training_free())
def test_what_works_untrained_predicts_with_the_backbone_alone(name: str) -> None:
    method = build_method(name, "resnet18-layer2", "none").eval()
    before = _logits(method)
    for key, parameter in method.named_parameters():
        if not key.startswith("backbone."):
            torch.nn.init.normal_(parameter)
    assert torch.equal(before, _logits(method))


def test_which_work_untrained() -> None:
    assert training_free() == ["baseline", "dino-map", "inopt-dagger", "insid3", "panet", "ppnet", "ssp"]


def test_the_recipe_has_each_value_with_its_source() -> None:
    facts = method_facts("canet", "pascal5i", 1)
    recipe = find_method("canet").recipe(load_protocol("pascal5i"), 1)
    found = {value.key: value for value in facts.recipe}
    unread = {"betas", "eps", "sources"}  # SGD reads none of them
    assert found.keys() == {field.name for field in dataclasses.fields(recipe)} - unread
    assert found["lr"].value == "0.0025"
    assert "2.5e-4" in found["lr"].source
    assert found["gamma"].source == "default"


def test_where_the_recipe_is_another_one() -> None:
    """The BiOpt paper: 8 episodes a step for 1 shot and 2 for 5; 20,000 'epochs' and a lower rate on COCO."""
    there = dict(method_facts("biopt", "pascal5i", 1).elsewhere)
    assert there["5 shots"] == "batch=2"
    (coco,) = (words for names, words in there.items() if "coco20i-a" in names)
    assert coco == "iterations=20000, schedule=step, milestones=10000"
    assert "shapes5i" in there


def test_backbones_and_ways() -> None:
    facts = method_facts("canet", "shapes5i", 1)
    assert (facts.max_ways, facts.backbone, facts.backbone_there) == (1, "resnet50", "resnet18-layer2")
    found = {backbone.name: backbone for backbone in facts.backbones}
    assert found["resnet50"].cuts == ("stem", "layer1", "layer2", "layer3")
    assert not found["resnet50"].note
    assert "used as it is listed" in found["vgg16"].note


FINE = '''"""Fine: needs cells of at most 2 pixels."""
from fsseg_bench.nn.layout import Layout
from fsseg_methods._shared import _PrototypeMethod


class Fine(_PrototypeMethod):
    layout = Layout(max_stride=2)

    def predict(self, episode):
        return self.scores(episode)

    def loss(self, episode):
        return {}
'''


def test_a_backbone_too_coarse_for_the_method(tmp_path: Path) -> None:
    write_backbone(tmp_path, "two_steps")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "fine.py").write_text(FINE)
    facts = method_facts("fine", "pascal5i", 1, methods_path=tmp_path / "methods", backbones_path=tmp_path)
    coarse = next(backbone for backbone in facts.backbones if backbone.name == "two-steps")
    assert "cut it earlier: --backbone two-steps-a" in coarse.note
    assert coarse.weights is None


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="Did you mean 'panet'"):
        method_facts("panett", "pascal5i", 1)
    with pytest.raises(UserError, match="Did you mean 'pascal5i'"):
        method_facts("panet", "pascal51", 1)
