"""Protocols that the user changed: single keys by name, and another number of episodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol, replace_episodes, replace_list
from tests.support.protocol_text import TEXT, changed, refused, write


def test_overrides_are_parsed_by_the_type_of_the_key(tmp_path: Path) -> None:
    given = {
        "data.test_list": "train, val",
        "data.root": "3",
        "data.train_excludes_test": "false",
        "image.size": "417",
        "scoring.scales": "1,2",
        "scoring.headline": "native",
    }
    protocol = load_protocol(write(tmp_path), given)
    assert protocol.data.test_list == ("train", "val")
    assert protocol.data.root == "3"
    assert protocol.data.train_excludes_test is False
    assert protocol.image.size == 417
    assert protocol.scoring.scales == (1.0, 2.0)
    assert protocol.scoring.headline == "native"
    assert protocol.overrides == {**given, "data.test_list": "train,val", "scoring.scales": "1.0,2.0"}


def test_an_override_may_bring_a_missing_key(tmp_path: Path) -> None:
    text = changed("seed = 11\n", "")
    assert load_protocol(write(tmp_path, text), {"episodes.seed": "4"}).episodes.seed == 4


def test_an_override_gives_the_digest_of_a_file_with_that_value(tmp_path: Path) -> None:
    overridden = load_protocol(write(tmp_path), {"episodes.seed": "12"})
    written = load_protocol(write(tmp_path, changed("seed = 11", "seed = 12")))
    assert overridden.digest == written.digest
    assert overridden.label == "own[episodes.seed=12]"
    assert written.label == "own"


def test_an_override_that_changes_nothing_is_not_in_the_label(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    same = load_protocol(write(tmp_path), {"episodes.seed": "11", "scoring.scales": "0.7,1,1.3"})
    assert same == plain
    assert same.label == "own"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("image.size", "big", 'image.size is "big"; it must be a whole number'),
        ("image.size", "417.0", 'image.size is "417.0"; it must be a whole number'),
        ("image.size", "8", "image.size is 8; it must be at least 32"),
        ("image.size", "", 'image.size is ""; it must be a whole number'),
        ("scoring.scales", "1,x", 'scoring.scales[1] is "x"; it must be a number'),
        ("scoring.scales", "nan", 'scoring.scales[0] is "nan"; it must be a finite number'),
        ("data.train_excludes_test", "1", 'data.train_excludes_test is "1"; it must be true or false'),
        ("data.novel_in_train", "keep", 'data.novel_in_train is "keep"; allowed: "background"'),
        ("episodes.support_replacement", "0", 'episodes.support_replacement is "0"; it must be true or false'),
        ("episodes.support_replacement", "yes", 'episodes.support_replacement is "yes"; it must be true or false'),
    ],
)
def test_wrong_overrides_are_refused_as_the_file_would_be(tmp_path: Path, key: str, text: str, message: str) -> None:
    assert refused(tmp_path, TEXT, {key: text}).startswith(message)


@pytest.mark.parametrize(
    ("key", "near"),
    [("image.sise", "image.size"), ("episode.seed", "episodes.seed"), ("data.mask", "data.masks")],
)
def test_unknown_overrides_show_near_matches(tmp_path: Path, key: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"unknown protocol key '{key}'\. Did you mean '{near}'"):
        load_protocol(write(tmp_path), {key: "1"})


@pytest.mark.parametrize("key", ["name", "classes", "folds.1", "size", "", "data.year"])
def test_only_keys_of_sections_can_be_overridden(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=f"unknown protocol key '{key}'"):
        load_protocol(write(tmp_path), {key: "1"})


# Another number of episodes


def test_another_number_of_episodes(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    fewer = replace_episodes(plain, 7)
    assert fewer.episodes.count == 7
    assert fewer.label == "own[episodes.count=7]"
    assert fewer.digest == load_protocol(write(tmp_path), {"episodes.count": "7"}).digest != plain.digest
    assert plain.episodes.count == 40
    assert replace_episodes(plain, 40) is plain


def test_no_episodes_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--episodes 0: at least 1"):
        replace_episodes(load_protocol(write(tmp_path)), 0)


# Episodes from elsewhere


def test_episodes_from_elsewhere_are_a_protocol_of_their_own(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    given = replace_list(plain)
    assert given.label == "own[episodes.list=given]"
    assert given.digest != plain.digest
    assert given.settings()["episodes"] == {**plain.settings()["episodes"], "list": "given"}
    assert {**given.settings(), "episodes": 0} == {**plain.settings(), "episodes": 0}
    assert replace_list(replace_episodes(plain, 7)).label == "own[episodes.count=7,episodes.list=given]"
    with pytest.raises(UserError, match=r"unknown protocol key 'episodes\.list'"):
        load_protocol(write(tmp_path), {"episodes.list": "given"})


# Supports drawn with replacement


def test_support_replacement_is_a_change_of_the_protocol(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    repeated = load_protocol(write(tmp_path), {"episodes.support_replacement": "true"})
    assert (plain.episodes.support_replacement, repeated.episodes.support_replacement) == (False, True)
    assert repeated.label == "own[episodes.support_replacement=true]"
    assert repeated.digest != plain.digest


def test_a_file_without_the_key_has_rules_label_and_digest_of_one_that_says_false(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    without = write(tmp_path, changed("support_replacement = false\n", ""))
    assert load_protocol(without) == plain
    assert load_protocol(without, {"episodes.support_replacement": "false"}) == plain
    assert load_protocol(without, {"episodes.support_replacement": "true"}).label == (
        "own[episodes.support_replacement=true]"
    )


BUILT_IN = {
    "coco20i-a": "8d628b46e5a8dd023a2f34dda77a4232b1c108c7b3ecdb3b1c12c1d3cc250faf",
    "coco20i-b": "3bef6d9cda2044699043cbf73a0d868781353607ba19a29fa11fa969bc286473",
    "coco20i-b-1024": "b2eaa8d811abb8987f13fb631eeba99d97bd5d8302a2b1f3337512f9c7d7f149",
    "pascal5i": "3a1e89f0b6d487889a82eb2f288e267c3a9220815a5072ab8d2557fa78d84d37",
    "shapes5i": "75b69251008bdb3d9e61b80848bca4011c78123419ec8624a8db7bbc616d14c6",
}


FIXTURES = {
    "coco-mini": "e56cbc127c1c481630be28418c49c054bcee49a49f7f6d31647aea556f5e1936",
    "coco-mini-to-voc12-mini": "2fe618f82069836e4fe9bf434ea39c21b43fe88b00ade981c8bcb73fbfa7596d",
    "voc12-mini": "1f3555c7c6b860b6f5577fede5a3e27c3bfca1b3449b18d771a9a9326d1266b5",
    "voc12-mini-to-coco-mini": "9724840217b30964c030dae1db5e33a146eaa6bb7c356e7eebe34f9bc56315c4",
}


def test_the_digests_of_the_measured_protocols_are_pinned() -> None:
    """Those of the page of measurements."""
    folder = Path(__file__).parents[1] / "fixtures"
    assert {name: load_protocol(folder / f"{name}.toml").digest for name in FIXTURES} == FIXTURES


def test_the_digests_of_the_built_in_protocols_are_pinned() -> None:
    """Recorded runs name them: a new key must stay out of them while it has its default value.

    A protocol is added above when the first version of the package with it is out.
    """
    assert {name: load_protocol(name).digest for name in BUILT_IN} == BUILT_IN
