"""What the contract tests say of a class and its card before one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from fsseg_bench.engine.check import check_method
from fsseg_bench.engine.check_class import check_card, check_members, check_names, check_switches
from fsseg_bench.engine.outputs import ContractError
from fsseg_bench.method import Method
from fsseg_bench.registry import FIDELITIES, Card, cards, find_method, method_names
from tests.engine.test_check import Good


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


def with_init(init: Any) -> type[Method]:
    return type("Switched", (Good,), {"__init__": init})


class TestSwitches:
    def test_without_a_type(self):
        def init(self, backbone, *, steps=5):
            pass

        assert told(check_switches, with_init(init)) == "switch steps has no type; write it as steps: float = 1.0, say"

    def test_without_a_default(self):
        def init(self, backbone, *, steps: int):
            pass

        assert "switch steps has no default" in told(check_switches, with_init(init))

    def test_of_a_type_that_no_text_can_give(self):
        def init(self, backbone, *, layers: list[int] = None):  # noqa: RUF013
            pass

        assert "switch layers has the type list[int], which --set cannot give" in told(check_switches, with_init(init))

    @pytest.mark.parametrize(("kind", "default"), [(int, 0.5), (float, True), (bool, 1), (int, None), (int, "5")])
    def test_a_default_of_another_type(self, kind: Any, default: Any):
        def init(self, backbone, *, steps=default):
            pass

        init.__annotations__["steps"] = kind
        assert "default" in told(check_switches, with_init(init))

    def test_an_annotation_of_something_unknown(self):
        def init(self, backbone, *, steps: Nowhere = 5):  # noqa: F821
            pass

        checks = {c.name: c for c in check_method(with_init(init), lambda: None)}
        assert "an annotation cannot be read" in checks["switches have a type and a default"].detail

    def test_all_kinds(self):
        def init(
            self,
            backbone,
            *,
            a: int = 1,
            b: float = 1,
            c: Literal["x", "y"] = "x",
            d: tuple[int, ...] = (),
            e: float | None = None,
            f: Mapping[str, float] | None = None,
            g: str = "",
            h: bool = True,
        ):
            pass

        assert check_switches(with_init(init)) == "a, b, c, d, e, f, g, h"


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
    return Card(**{**values, "name": "own", "summary": "Own: it.", "fidelity": "parity", "differences": (), **changes})


class TestCards:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"summary": ""}, "there is no card: the module docstring needs a first line"),
            ({"fidelity": ""}, "the card has no Fidelity:"),
            ({"title": "", "fidelity": ""}, "the card has no Title: and no Fidelity:"),
            ({"fidelity": "form code"}, "Fidelity: form code is unknown. Did you mean 'from code'? Known: parity"),
            ({"fidelity": "Parity"}, "Fidelity: Parity is unknown. Did you mean 'parity'?"),
            ({"fidelity": "exact"}, "Fidelity: exact is unknown. Known: parity, from code, paper only, reconstruction"),
        ],
    )
    def test_what_is_missing_or_unknown(self, changes: dict[str, str], said: str):
        assert told(check_card, card(**changes)).startswith(said)

    @pytest.mark.parametrize("fidelity", FIDELITIES)
    def test_known(self, fidelity: str):
        assert check_card(card(fidelity=fidelity)) == fidelity
