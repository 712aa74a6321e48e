"""Methods read without torch say what they say with it, and what depends on torch is not guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.engine.method_facts import method_facts
from fsseg_bench.registry import method_names
from tests.support.fresh import python

ALL_FACTS = """
import json, sys
from fsseg_bench.plugins.hollow import without_torch
from fsseg_bench.registry import method_names
with without_torch():
    from fsseg_bench.engine.method_facts import method_facts
    found = {name: method_facts(name, "coco20i-b", 5).to_json() for name in method_names()}
assert not [name for name in sys.modules if name.startswith(("torch", "fsseg_methods."))]
print(json.dumps(found))
"""
REFUSED = """
import sys
from fsseg_bench.plugins.hollow import HollowError, without_torch
with without_torch():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    class Own(nn.Module):
        def __init__(self): super().__init__()

    assert torch.float32 == torch.float32 != torch.float16
    assert Tensor | None and nn.Linear(2, 3)(F.relu(1)).shape is not None
    for ask in (bool, int, float, len, list, lambda x: x < 1, lambda x: x == 1, lambda x: 1 in [x]):
        try:
            ask(torch.tensor(3))
        except HollowError:
            continue
        raise SystemExit("answered")
    for missing in (lambda: Own.no_such_name, lambda: torch.__version__, lambda: [*nn.Linear]):
        try:
            missing()
        except (AttributeError, TypeError):
            continue
        raise SystemExit("answered")
import torch
print(int(torch.tensor(3)), torch.nn.Module.__module__)
"""
ASKS_TORCH = '''"""Asks torch: its recipe depends on what torch computes.

Title: None
Fidelity: own design
"""
import torch

from fsseg_bench.method import Method
from fsseg_bench.recipe import Recipe


class AsksTorch(Method):
    def predict(self, episode):
        return episode.query

    def loss(self, episode):
        return {}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=int(torch.arange(5).sum()), batch=1, lr=0.5)
'''


@pytest.mark.slow
def test_all_methods_say_the_same_without_torch() -> None:
    found = json.loads(python(ALL_FACTS))
    assert list(found) == method_names()
    assert found == {name: method_facts(name, "coco20i-b", 5).to_json() for name in found}


def test_the_stand_in_answers_no_question_and_goes_again() -> None:
    assert python(REFUSED).split() == ["3", "torch.nn.modules.module"]


@pytest.mark.slow
def test_a_recipe_that_needs_torch_gets_it(tmp_path: Path) -> None:
    (tmp_path / "asks_torch.py").write_text(ASKS_TORCH)
    code = (
        f"from fsseg_bench.cli.main import main; main(['show', 'asks-torch', '--json', '--methods-path', '{tmp_path}'])"
    )
    recipe = {value["key"]: value for value in json.loads(python(code))["recipe"]}
    assert (recipe["iterations"]["value"], recipe["lr"]["value"]) == ("10", "0.5")
