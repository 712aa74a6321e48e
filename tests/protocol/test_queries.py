"""Episodes whose classes and queries come in an order, and supports that are always the same."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.load import load_protocol, replace_episodes
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.protocol_text import changed, refused, write

PASCAL = load_protocol("pascal5i")
TURNED = dataclasses.replace(PASCAL, folds={1: ("bird", "aeroplane", "boat", "bottle", "bicycle")})
"""Its one fold names the classes 3, 1, 4, 5, 2."""


def protocol_of(base: Protocol = PASCAL, **values: object) -> Protocol:
    return dataclasses.replace(base, episodes=dataclasses.replace(base.episodes, **values))  # type: ignore[arg-type]


def pairs_of(*sizes: int) -> dict[int, list[str]]:
    """Ids whose order as text is not that of their numbers."""
    return {c: [f"c{c}/{i}" for i in range(1, n + 1)] for c, n in enumerate(sizes, start=1)}


FIVE = pairs_of(12, 3, 4, 5, 6)
ALL = sum(map(len, FIVE.values()))


def first_classes(table: EpisodeTable) -> list[int]:
    return [classes[0] for classes in table.classes]


def checked(protocol: Protocol, shot: int = 1, pairs: dict[int, list[str]] = FIVE) -> EpisodeTable:
    table = sample_episodes(protocol, 1, pairs, 1, shot)
    replacement = protocol.episodes.support_replacement
    check_episodes(table, pairs, range(1, 6), 1, shot, "memory", support_replacement=replacement)
    return table


# cycle


def test_cycle_takes_the_classes_as_the_fold_names_them() -> None:
    table = checked(protocol_of(TURNED, class_sampling="cycle", count=12), shot=2)
    assert first_classes(table) == [3, 1, 4, 5, 2, 3, 1, 4, 5, 2, 3, 1]


def test_cycle_draws_queries_and_supports_uniformly() -> None:
    table = checked(protocol_of(class_sampling="cycle", count=6000), pairs=pairs_of(6, 6, 6, 6, 6))
    for c in (1, 4):
        rows = [i for i, own in enumerate(first_classes(table)) if own == c]
        drawn = Counter((table.queries[i], table.supports[i][0][0]) for i in rows)
        assert len(drawn) == 30
        assert stats.chisquare(list(drawn.values())).pvalue > 1e-4


def test_a_cycle_that_leaves_classes_out() -> None:
    with pytest.raises(UserError, match=r"4 episodes leave .*\(bicycle\), and .*; 5 episodes reach every class"):
        sample_episodes(protocol_of(TURNED, class_sampling="cycle", count=4), 1, FIVE, 1, 1)


# each-pair


def test_each_pair_is_a_query_once_by_class_and_id_as_text() -> None:
    table = checked(protocol_of(TURNED, class_sampling="each-pair", count=0))
    assert list(zip(first_classes(table), table.queries, strict=True)) == [
        (c, image) for c in (3, 1, 4, 5, 2) for image in sorted(FIVE[c])
    ]
    assert table.queries[4:8] == ("c1/1", "c1/10", "c1/11", "c1/12")


def test_pairs_go_round_or_stop_early() -> None:
    whole = checked(protocol_of(class_sampling="each-pair", count=0))
    longer = checked(protocol_of(class_sampling="each-pair", count=ALL + 7))
    assert longer.head(ALL) == whole
    assert longer.queries[ALL:] == whole.queries[:7]
    assert checked(protocol_of(class_sampling="each-pair", count=ALL - 2)) == whole.head(ALL - 2)
    with pytest.raises(UserError, match=rf"{12 + 3 + 4 + 5 + 1} episodes reach every class"):
        checked(protocol_of(class_sampling="each-pair", count=13))


def test_pairs_in_a_given_order() -> None:
    order = [(c, image) for c in (2, 5, 1, 4, 3) for image in reversed(FIVE[c])]
    table = sample_episodes(protocol_of(class_sampling="each-pair", count=0), 1, FIVE, 1, 1, order=order)
    assert list(zip(first_classes(table), table.queries, strict=True)) == order


def test_supports_are_drawn_uniformly_from_the_others() -> None:
    table = checked(protocol_of(class_sampling="each-pair", count=30 * 400), 1, pairs_of(6, 6, 6, 6, 6))
    drawn = Counter(table.supports[i][0][0] for i in range(len(table)) if table.queries[i] == "c1/2")
    assert set(drawn) == {f"c1/{i}" for i in (1, 3, 4, 5, 6)}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-4


def test_a_photo_with_two_ids_is_one_query() -> None:
    pairs = {**FIVE, 2: [*FIVE[2], "c2/9"]}
    table = sample_episodes(protocol_of(class_sampling="each-pair", count=0), 1, pairs, 1, 1, {"c2/9": "c2/1"})
    assert len(table) == ALL
    assert "c2/9" not in table.queries


# each-image

SHARED = {1: ["b", "a", "d"], 2: ["a", "c"], 3: ["e", "f"], 4: ["a", "g"], 5: ["h", "i"]}


def test_each_image_is_a_query_once_with_a_class_that_it_shows() -> None:
    table = checked(protocol_of(class_sampling="each-image", count=0), pairs=SHARED)
    assert "".join(table.queries) == "abcdefghi"
    assert [c for c, image in zip(first_classes(table), table.queries, strict=True) if image != "a"] == [
        1, 2, 1, 3, 3, 4, 5, 5,
    ]  # fmt: skip


def test_an_images_classes_are_drawn_uniformly() -> None:
    table = checked(protocol_of(class_sampling="each-image", count=9 * 900), pairs=SHARED)
    drawn = Counter(first_classes(table)[::9])
    assert set(table.queries[::9]) == {"a"}
    assert set(drawn) == {1, 2, 4}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-4


def test_images_in_a_given_order() -> None:
    order = [
        (5, "i"),
        (1, "b"),
        (4, "a"),
        (3, "f"),
        (1, "a"),
        (2, "a"),
        (5, "h"),
        (4, "g"),
        (2, "c"),
        (1, "d"),
        (3, "e"),
    ]
    table = sample_episodes(protocol_of(class_sampling="each-image", count=11), 1, SHARED, 1, 1, order=order)
    assert "".join(table.queries) == "ibafhgcdeib"


# first


def test_the_first_images_are_supports_and_no_queries() -> None:
    table = checked(protocol_of(class_sampling="each-pair", support_sampling="first", count=0), shot=2)
    assert len(table) == ALL - 5 * 2
    for i, (c,) in enumerate(table.classes):
        assert table.supports[i] == (tuple(sorted(FIVE[c])[:2]),)
        assert table.queries[i] not in sorted(FIVE[c])[:2]
    drawn = checked(protocol_of(support_sampling="first", count=400), shot=2)
    assert set(zip(first_classes(drawn), drawn.queries, strict=True)) == set(
        zip(first_classes(table), table.queries, strict=True)
    )
    cycled = checked(protocol_of(class_sampling="cycle", support_sampling="first", count=400), shot=2)
    assert set(cycled.queries) == set(table.queries)


def test_a_first_image_of_one_class_may_be_a_query_of_another() -> None:
    table = checked(protocol_of(class_sampling="each-image", support_sampling="first", count=0), pairs=SHARED)
    found = [
        (image, c, table.supports[i][0][0])
        for i, (image, (c,)) in enumerate(zip(table.queries, table.classes, strict=True))
    ]
    assert found == [("b", 1, "a"), ("c", 2, "a"), ("d", 1, "a"), ("f", 3, "e"), ("g", 4, "a"), ("i", 5, "h")]


# What is refused


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"class_sampling": "cycle"}, "episodes.class_sampling=cycle"),
        ({"class_sampling": "each-pair"}, "episodes.class_sampling=each-pair"),
        ({"class_sampling": "each-image"}, "episodes.class_sampling=each-image"),
        ({"support_sampling": "first"}, "episodes.support_sampling=first"),
    ],
)
def test_one_way_only(values: dict[str, object], key: str) -> None:
    with pytest.raises(UserError, match=rf"--way 2: pascal5i has {key}, which makes episodes of 1 way; give --way 1"):
        sample_episodes(protocol_of(PASCAL, **values), 1, FIVE, 2, 1)


@pytest.mark.parametrize("sampling", ["cycle", "each-pair", "each-image"])
def test_too_few_images(sampling: str) -> None:
    with pytest.raises(UserError, match=r"3-shot episodes need 4 test images of each .*, but 'bicycle' has 3"):
        sample_episodes(protocol_of(class_sampling=sampling), 1, FIVE, 1, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "count = 40",
            "count = [5, 0, 5, 5]",
            'episodes.count is 0; it must be at least 1 with class_sampling "uniform"',
        ),
        ("count = 40", "count = [5, 6]", "episodes.count has 2 numbers, and there are 4 folds; give each fold one, or"),
        ("count = 40", "count = []", "episodes.count has 0 numbers, and there are 4 folds"),
        (
            "support_replacement = false",
            'support_replacement = true\nsupport_sampling = "first"',
            'episodes.support_replacement is true; with support_sampling "first" nothing is drawn',
        ),
    ],
)
def test_values_without_a_meaning(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert refused(tmp_path, changed(old, new)).startswith(message)


# The number of episodes


def test_a_number_for_each_fold(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path, changed("count = 40", "count = [5, 6, 7, 8]")))
    assert [protocol.episodes.count_of(fold) for fold in protocol.folds] == [5, 6, 7, 8]
    assert len(sample_episodes(protocol, 3, {4: list("abc")}, 1, 1)) == 7
    assert replace_episodes(protocol, 9).episodes.counts == (9,)
    given = load_protocol(write(tmp_path), {"episodes.count": "5,6,7,8"})
    assert (given.label, given.digest) == ("own[episodes.count=5,6,7,8]", protocol.digest)
    assert load_protocol(write(tmp_path), {"episodes.count": "7"}).episodes.count == 7


def test_all_that_there_are(tmp_path: Path) -> None:
    text = changed('class_sampling = "uniform"', 'class_sampling = "each-pair"', changed("count = 40", "count = 0"))
    protocol = load_protocol(write(tmp_path, text))
    assert protocol.episodes.count_of(2) == 0
    assert len(sample_episodes(protocol, 2, {3: list("abcde")}, 1, 1)) == 5
    assert len(sample_episodes(replace_episodes(protocol, 3), 2, {3: list("abcde")}, 1, 1)) == 3
