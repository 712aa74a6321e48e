"""The contract tests find each broken contract, and pass what keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import torch

from fsseg_bench.engine.check import (
    _nothing_trained,
    check_card,
    check_members,
    check_method,
    check_names,
    check_switches,
)
from fsseg_bench.engine.checks import ContractError
from fsseg_bench.method import Episode, Method, TrainingFree, feature_map
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, support_prototypes, unit_cells
from fsseg_bench.recipe import Recipe
from fsseg_bench.registry import FIDELITIES, Card, cards, find_method, method_names
from fsseg_bench.schema import Range


class Good(Method):
    def predict(self, episode: Episode):
        prototypes = support_prototypes(feature_map(episode.support), episode.support_masks)
        return cosine_scores(unit_cells(feature_map(episode.query)).cells, prototypes)

    def loss(self, episode: Episode):
        return {"query": segmentation_loss(self.predict(episode), episode.query_labels)}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=1, batch=1, lr=0.1)


class Detached(Good):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.unused = torch.nn.Linear(2, 2)


def failures(cls: type[Method]) -> set[str]:
    checks = check_method(cls, lambda: cls(build_backbone("resnet18-layer2")))
    return {check.name.partition(":")[0] for check in checks if not check.passed}


def test_a_good_method_passes() -> None:
    assert failures(Good) == set()


def logits(change) -> dict[str, Any]:
    """A predict that gives other logits than the good one."""
    return {"predict": lambda self, episode: change(Good.predict(self, episode), episode)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "found"),
    [
        (logits(lambda scores, _: scores[:, :2]), "logits"),
        (logits(lambda scores, _: scores + torch.randn_like(scores)), "evaluation is deterministic"),
        (logits(lambda scores, _: scores * scores.mean()), "batch equals one by one"),
        (logits(lambda scores, episode: scores + 0 * episode.query.mul_(2).mean()), "inputs are left as they were"),
        (logits(lambda scores, episode: scores / (episode.support_masks == 1).sum()), "empty support mask"),
        (
            {"encode": lambda self, x: self.backbone(x - x.mean(dim=0))},
            "features depend on the image alone",
        ),
    ],
)
def test_each_broken_contract_is_found(members: dict[str, Any], found: str) -> None:
    assert found in failures(type("Broken", (Good,), members))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "told"),
    [
        (logits(lambda scores, _: scores[:, :1]), "logits of background, then of each way"),
        (logits(lambda scores, _: scores.argmax(dim=1, keepdim=True).expand_as(scores)), "must give logits, not the"),
        (logits(lambda scores, episode: scores * episode.query_labels.float().mean()), ""),
        ({"predict": lambda self, episode: episode.query_labels.float()}, "query_labels, which is None in evaluation"),
        (logits(lambda scores, _: scores + torch.randn_like(scores)), "two predictions of one episode differ"),
    ],
)
def test_what_follows_from_a_basic_mistake_is_not_told_as_another(members: dict[str, Any], told: str) -> None:
    cls = type("Broken", (Good,), members)
    checks = [one for one in check_method(cls, lambda: cls(build_backbone("resnet18-layer2"))) if not one.passed]
    assert any(told in one.detail for one in checks)
    assert checks[-1].name == "what builds on these"
    assert checks[-1].detail.startswith("not tested yet: batch equals one by one; ")


def test_nothing_else_is_found() -> None:
    assert failures(Detached) == {"loss"}
    assert failures(type("Raises", (Good,), {"loss": lambda self, episode: {}["nothing"]})) == {"loss"}
    bad = classmethod(lambda cls, protocol, shot: Recipe(iterations=1, batch=0, lr=0.1))
    assert failures(type("BadRecipe", (Good,), {"recipe": bad})) == {"recipe"}


# What is said of a class and its card before one is built

WRONG = [(int, 0.5), (float, True), (bool, 1), (int, None), (int, "5")]
"""Types and defaults of another type."""


def told(check: Any, subject: Any) -> str:
    with pytest.raises(ContractError) as error:
        check(subject)
    return str(error.value)


def test_built_in_methods_pass() -> None:
    for name, card in zip(method_names(), cards(), strict=True):
        cls = find_method(name)
        assert check_members(cls) == "predict, loss and recipe"
        assert check_names(cls)
        assert check_switches(cls)
        assert check_card(card) in FIDELITIES


class TestNames:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("need_grad_at_test", "needs_grad_at_test"),
            ("encode_supports", "encode_support"),
            ("encodes", "encode"),
            ("keep_history", "keeps_history"),
            ("read_class_labels", "reads_class_labels"),
            ("unlabeled_images", "unlabelled_images"),
            ("max_way", "max_ways"),
            ("default_backbones", "default_backbone"),
        ],
    )
    def test_a_near_miss_is_found(self, name: str, meant: str):
        spoilt = type("Spoilt", (Good,), {name: True})
        assert told(check_names, spoilt).startswith(f"Spoilt.{name} is no part of the contract")
        assert f"Did you mean '{meant}'?" in told(check_names, spoilt)
        assert check_names(type("Child", (Good,), {"_" + name: True}))

    def test_in_a_class_between_too(self):
        between = type("Between", (Good,), {"encode_supports": None})
        assert "encode_supports" in told(check_names, type("Child", (between,), {}))

    def test_names_of_ones_own(self):
        class Own(Good):
            prototypes = None
            logits = None
            stages = None

            def encode(self, images):
                return super().encode(images)

            def encoder(self):  # beside an encode of its own
                return self.backbone

        assert check_names(Own)


def with_switches(*fields: Any, frozen: bool = True) -> type[Method]:
    """A method with fields (name, type) or (name, type, default)."""
    made = [(*field[:2], dataclasses.field(default=field[2])) if len(field) == 3 else field for field in fields]
    return type("Switched", (Good,), {"Switches": dataclasses.make_dataclass("Switches", made, frozen=frozen)})


class Untyped(Good):
    @dataclass(frozen=True)
    class Switches:
        width: int = 3
        steps = 5


class Keywords(Good):
    def __init__(self, backbone, *, steps: int = 5, mode: Literal["a", "b"] = "a"):
        super().__init__(backbone)


class Forgetful(with_switches(("steps", int, 5))):
    def __init__(self, backbone):
        super().__init__(backbone)


class Bare(Good):
    class Switches:
        steps: int = 5


class TestSwitches:
    @pytest.mark.parametrize(
        ("cls", "expected"),
        [
            (Untyped, "switch steps has no type; write it as steps: float = 1.0 in Untyped.Switches"),
            (with_switches(("steps", int)), "switch steps has no default"),
            (with_switches(("layers", list[int], None)), "layers has the type list[int], which --set cannot give"),
            (with_switches(("steps", "Nowhere", 5)), "an annotation cannot be read"),
            (with_switches(("steps", int, 5), frozen=False), "write @dataclass(frozen=True) above it"),
            (Bare, "write @dataclass(frozen=True) above it"),
            (Forgetful, "its __init__ must take them: write (self, backbone: Backbone, switches: Switches)"),
            (Keywords, "steps, mode as keyword-only arguments"),
            (Keywords, "        steps: int = 5\n        mode: Literal['a', 'b'] = 'a'\n"),
            (Keywords, "    def __init__(self, backbone: Backbone, switches: Switches) -> None:\n"),
            (with_switches(("steps", Annotated[int, Range(least=1)], 0)), "steps is 0; it must be at least 1"),
            *((with_switches(("steps", kind, default)), "steps") for kind, default in WRONG),
        ],
    )
    def test_mistakes_are_said_before_anything_is_built(self, cls: type[Method], expected: str):
        assert expected in told(check_switches, cls)
        checks = {c.name: c for c in check_method(cls, lambda: None)}
        assert expected in checks["switches have a type and a default"].detail

    def test_all_kinds(self):
        kinds = {
            int: 1,
            float: 1,
            Literal["x", "y"]: "x",
            tuple[int, ...]: (),
            float | None: None,
            Mapping[str, float] | None: None,
            str: "",
            bool: True,
            Annotated[int, Range(least=1)] | None: None,
        }
        cls = with_switches(*((f"s{i}", kind, default) for i, (kind, default) in enumerate(kinds.items())))
        assert check_switches(cls) == ", ".join(f"s{i}" for i in range(len(kinds)))


class TestMembers:
    def test_what_is_missing_is_said_and_nothing_is_built(self):
        class Half(Method):
            def predict(self, episode):
                return episode.query

        def build() -> Method:
            raise AssertionError("built")

        checks = check_method(Half, build)
        assert [(c.name, c.detail) for c in checks if not c.passed] == [
            ("it defines what every method does", "Half does not define loss, recipe")
        ]

    def test_what_its_init_raises_is_said(self):
        class Stubborn(Good):
            def __init__(self, backbone):
                raise KeyError("no")

        (*_, last) = check_method(Stubborn, lambda: Stubborn(None))
        assert (last.name, last.passed, last.detail) == ("it can be built", False, "KeyError: 'no'")


def card(**changes: str) -> Card:
    values: dict[str, Any] = dict.fromkeys(("title", "authors", "venue", "year", "distinctive", "origin"), "x")
    return Card(
        **{
            **values,
            "name": "own",
            "summary": "Own: it.",
            "fidelity": "parity",
            "differences": (),
            "untrained": False,
            "transductive": "unknown",
            "test_time_training": "none",
            "extra_data": "none",
            **changes,
        }
    )


class Free(TrainingFree):
    predict = Good.predict


class TestTrainingFree:
    """Of the one check that stands in place of those of losses."""

    def test_the_backbone_alone(self):
        assert "no parameters but the backbone's" in _nothing_trained(Free, Free(build_backbone("resnet18-layer2")))

    def test_parameters_that_nobody_trains(self):
        class Own(Free):
            def __init__(self, backbone):
                super().__init__(backbone)
                self.head = torch.nn.Linear(2, 2)

        with pytest.raises(ContractError, match=r"would stay random: head\.bias, head\.weight"):
            _nothing_trained(Own, Own(build_backbone("resnet18-layer2")))

    def test_iterations(self):
        class Trained(Free):
            recipe = Good.recipe

        with pytest.raises(ContractError, match="Trained is a TrainingFree method whose recipe has 1 iterations"):
            _nothing_trained(Trained, Trained(build_backbone("resnet18-layer2")))


class TestCards:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"summary": ""}, "there is no card: the module docstring needs a first line"),
            ({"fidelity": ""}, "the card has no Fidelity:"),
            ({"title": "", "fidelity": ""}, "the card has no Title: and no Fidelity:"),
            ({"fidelity": "form code"}, "Fidelity: form code is unknown. Did you mean 'from code'? Known: parity"),
            ({"fidelity": "Parity"}, "Fidelity: Parity is unknown. Did you mean 'parity'?"),
            (
                {"transductive": "yes"},
                "Transductive: yes is no value of a card; use no, own query, other images or unkn",
            ),
            ({"fidelity": "exact"}, "Fidelity: exact is unknown. Known: parity, from code, paper only, reconstruction"),
        ],
    )
    def test_what_is_missing_or_unknown(self, changes: dict[str, str], said: str):
        assert told(check_card, card(**changes)).startswith(said)

    @pytest.mark.parametrize("fidelity", FIDELITIES)
    def test_known(self, fidelity: str):
        assert check_card(card(fidelity=fidelity)) == fidelity
