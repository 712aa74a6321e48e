"""What was seen: words, cards of all methods and backbones, and what a user says of weights."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fsseg_bench import seen
from fsseg_bench.errors import UserError
from fsseg_bench.nn.catalogue import backbone_names
from fsseg_bench.records.request import grouped
from fsseg_bench.registry import cards, find_method, method_names, pretraining, what_was_seen
from fsseg_bench.seen import OF_METHOD, OF_WEIGHTS, UNKNOWN, Seen

_STEPS = {"steps": 7}


@pytest.mark.parametrize(
    ("name", "text", "fits"),
    [
        ("supervision", "none", True),
        ("supervision", "masks, text", True),
        ("supervision", "none, text", False),
        ("supervision", "labels", False),
        ("novel_classes", "by masks", True),
        ("novel_classes", "yes", False),
        ("transductive", "own query", True),
        ("transductive", "unknown", True),
        ("transductive", "", False),
        ("test_time_training", "", False),
        ("extra_data", "anything at all", True),
    ],
)
def test_what_a_field_may_hold(name: str, text: str, fits: bool) -> None:
    assert (seen.wrong(name, text) == "") is fits


def test_weights_name_the_protocols_that_they_know_of() -> None:
    assert seen.under_protocol("by labels (a, b)", "b") == "by labels"
    assert seen.under_protocol("by labels (a, b)", "c") == UNKNOWN
    assert seen.under_protocol("no", "c") == "no"


def test_switches_are_filled_in_and_none_of_the_steps_is_no_training() -> None:
    card = Seen(transductive="own query", test_time_training="a vector, {steps} steps (on={on})")
    assert seen.with_switches(card, {"steps": 7, "on": True}).test_time_training == "a vector, 7 steps (on=true)"
    for switches in ({"steps": 0, "on": True}, {"steps": 7, "on": False}):
        done = seen.with_switches(card, switches)
        assert (done.test_time_training, done.transductive) == ("none", "no")
    other = replace(card, transductive="other images")
    assert seen.with_switches(other, {"steps": 0}).transductive == "other images"
    assert seen.with_switches(card, {}).test_time_training == "a vector, ? steps (on=?)"  # an early record


def test_numbers_that_share_a_row_say_in_what_they_differ() -> None:
    first, second = Seen(transductive="no"), Seen(transductive="own query")
    assert seen.together([first, first]) == first
    assert seen.together([first, second]) == Seen(transductive="no / own query")


@pytest.mark.parametrize("name", method_names())
def test_every_method_says_what_it_sees(name: str) -> None:
    card = next(card for card in cards() if card.name == name)
    cls = find_method(name)
    switches = vars(cls.Switches()) if cls.Switches else {}
    for field in OF_METHOD:
        assert getattr(card, field) not in {"", UNKNOWN}, f"{name}: the card does not say {field}"
        assert not seen.wrong(field, getattr(card, field))
    own = what_was_seen(name, "resnet50", "none", "pascal5i", switches)
    assert "{" not in own.test_time_training
    # what the class says is said by the card, too
    unlabelled = cls.unlabelled_images.fget(SimpleNamespace(switches=cls.Switches and cls.Switches()))  # type: ignore[attr-defined]
    assert (own.extra_data != "none") == bool(unlabelled)
    if cls.needs_grad_at_test:
        assert own.test_time_training != "none"
    if own.transductive == "own query":  # by definition
        assert own.test_time_training != "none"


@pytest.mark.parametrize("name", backbone_names())
def test_every_backbone_says_what_its_weights_have_seen(name: str) -> None:
    said = pretraining(name)
    assert set(said) == set(OF_WEIGHTS)
    assert UNKNOWN not in said.values()
    for field, text in said.items():
        assert not seen.wrong(field, seen.under_protocol(text, "pascal5i"))


def test_weights_decide_what_was_seen() -> None:
    def of(weights: str | None, backbone: str = "resnet50-layer3", protocol: str = "pascal5i", **stated: str) -> Seen:
        return what_was_seen("biopt", backbone, weights, protocol, _STEPS, stated=stated)

    published = of("ResNet50_Weights.IMAGENET1K_V1")
    assert published == Seen(
        supervision="image labels",
        pretraining_data="ImageNet-1k",
        novel_classes="by labels",
        transductive="own query",
        test_time_training="prototypes, 7 gradient steps on the query's own predictions",
        extra_data="none",
    )
    assert of("ResNet50_Weights.IMAGENET1K_V1", protocol="mine").novel_classes == UNKNOWN
    random = of("none").of(OF_WEIGHTS)
    assert random == {"supervision": "none", "pretraining_data": "none", "novel_classes": "no"}
    for unknown in (of("moco.pth"), of(None), of("published", backbone="not-a-backbone")):
        assert set(unknown.of(OF_WEIGHTS).values()) == {UNKNOWN}
    assert of("moco.pth", supervision="none", novel_classes="no").of(OF_WEIGHTS) == {
        "supervision": "none",
        "pretraining_data": UNKNOWN,
        "novel_classes": "no",
    }


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("vit_small_patch14_dinov2.lvd142m", ["none", "LVD-142M", "no"]),
        ("vit_large_patch16_dinov3.lvd1689m", ["none", "LVD-1689M", "no"]),
        ("samvit_base_patch16.sa1b", ["masks", "SA-1B", "by unnamed masks"]),
        ("resnet50.a1_in1k", ["image labels", "ImageNet-1k", "by labels"]),
        ("resnet50.fb_ssl_yfcc100m_ft_in1k", [UNKNOWN] * 3),  # more than ImageNet
        ("vit_base_patch16_clip_224.openai", [UNKNOWN] * 3),
        ("lvd142m.pth", [UNKNOWN] * 3),  # a file of the user's
    ],
)
def test_timms_tags_say_what_its_weights_have_seen(weights: str, expected: list[str]) -> None:
    found = what_was_seen("baseline", "timm:some_model-blocks.3", weights, "pascal5i", {})
    assert list(found.of(OF_WEIGHTS).values()) == expected


def test_of_an_unknown_method_nothing_is_known() -> None:
    assert what_was_seen("nobodys", "resnet50", None, "pascal5i", {}) == seen.NOTHING_KNOWN


def test_a_user_says_what_weights_have_seen() -> None:
    given = {"weights.supervision": "masks, text", "weights.novel_classes": "by masks", "steps": "5"}
    groups = grouped(given)
    assert groups["weights"] == {"supervision": "masks, text", "novel_classes": "by masks"}
    assert groups["switch"] == {"steps": "5"}
    with pytest.raises(UserError, match=r"weights\.novel_class.*Did you mean 'weights\.novel_classes'"):
        grouped({"weights.novel_class": "no"})
    with pytest.raises(UserError, match=r"--set weights\.supervision=lables: use none, image labels, masks, text"):
        grouped({"weights.supervision": "lables"})
