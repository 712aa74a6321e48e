from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import EpisodeTable, sample_episodes
from fsseg_bench.protocol.load import load_protocol, replace_episodes
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import below, distinct, stream
from tests.support.fresh import python

PASCAL = load_protocol("pascal5i")

Pairs = dict[int, list[str]]


def pairs_of(sizes: Mapping[int, int], shared: int = 0) -> Pairs:
    """Image ids for each class; the first ``shared`` are those of every class."""
    return {c: [f"s{i}" for i in range(shared)] + [f"c{c}_{i}" for i in range(n)] for c, n in sizes.items()}


def protocol_of(count: int, seed: int = 1385) -> Protocol:
    episodes = dataclasses.replace(PASCAL.episodes, count=count, seed=seed)
    return dataclasses.replace(PASCAL, episodes=episodes)


def with_replacement(count: int, seed: int = 1385) -> Protocol:
    protocol = protocol_of(count, seed)
    return dataclasses.replace(protocol, episodes=dataclasses.replace(protocol.episodes, support_replacement=True))


FIVE = pairs_of({1: 30, 2: 20, 3: 25, 4: 12, 5: 40}, shared=6)


# What is drawn


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(12, 30), min_size=5, max_size=5),
    shared=st.integers(0, 8),
    way=st.integers(1, 3),
    shot=st.integers(1, 3),
    seed=st.integers(),
    fold=st.integers(1, 4),
)
def test_invariants(sizes: list[int], shared: int, way: int, shot: int, seed: int, fold: int) -> None:
    novel = range(5 * fold - 4, 5 * fold + 1)
    pairs = pairs_of(dict(zip(novel, sizes, strict=True)), shared)
    table = sample_episodes(protocol_of(60, seed), fold, pairs, way, shot)
    assert (len(table), table.ways, table.shots) == (60, way, shot)
    for classes, query, supports in zip(table.classes, table.queries, table.supports, strict=True):
        assert len(classes) == len(set(classes)) == len(supports) == way
        assert set(classes) <= set(novel)
        images = [query, *(image for way_images in supports for image in way_images)]
        assert len(images) == len(set(images)) == 1 + way * shot
        assert query in pairs[classes[0]]
        for c, way_images in zip(classes, supports, strict=True):
            assert len(way_images) == shot
            assert set(way_images) <= set(pairs[c])
    assert {classes[0] for classes in table.classes} == set(novel)
    check_episodes(table, pairs, novel, way, shot, "memory")


def drawn_naively(pairs: Pairs, way: int, shot: int, *, replacement: bool) -> EpisodeTable:
    """The sampling rule of fold 1 and seed 3 written out with lists.

    What is used is taken out, then draws are made from the rest; with replacement, each support is drawn from all
    images of its class but the query.
    """
    rng = stream("episodes", 3, 1, way, shot)
    rows = []
    for _ in range(60):
        classes = tuple(sorted(pairs)[i] for i in distinct(rng, len(pairs), way))
        left = sorted(pairs[classes[0]])
        query = left[below(rng, len(left))]
        used, supports = {query}, []
        for c in classes:
            left = [image for image in sorted(pairs[c]) if image not in used]
            places = [below(rng, len(left)) for _ in range(shot)] if replacement else distinct(rng, len(left), shot)
            supports.append(tuple(left[i] for i in places))
            used |= set() if replacement else set(supports[-1])
        rows.append((classes, query, tuple(supports)))
    return EpisodeTable(tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(r[2] for r in rows))


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 5), (2, 1), (3, 2), (5, 3)])
def test_the_draws_follow_the_written_rule(way: int, shot: int, replacement: bool) -> None:
    table = sample_episodes((with_replacement if replacement else protocol_of)(60, 3), 1, FIVE, way, shot)
    assert table == drawn_naively(FIVE, way, shot, replacement=replacement)
    check_episodes(table, FIVE, range(1, 6), way, shot, "memory", support_replacement=replacement)


def test_classes_come_up_alike() -> None:
    """Over 40 seeds, the chi-square statistics of the query's class follow their distribution (4 degrees)."""
    values = []
    for seed in range(40):
        table = sample_episodes(protocol_of(1000, seed), 1, FIVE, 1, 1)
        counts = Counter(classes[0] for classes in table.classes)
        assert sum(counts.values()) == 1000
        values.append(stats.chisquare([counts[c] for c in range(1, 6)]).statistic)
    assert stats.kstest(values, stats.chi2(4).cdf).pvalue > 1e-3


def test_sets_of_ways_come_up_alike() -> None:
    table = sample_episodes(protocol_of(4000), 1, FIVE, 2, 1)
    ordered = Counter(table.classes)
    assert len(ordered) == 20
    assert stats.chisquare(list(ordered.values())).pvalue > 1e-3


def test_images_come_up_alike_as_query_and_as_support() -> None:
    table = sample_episodes(protocol_of(20_000), 1, pairs_of(dict.fromkeys(range(1, 6), 7)), 1, 3)
    of_three = [i for i, classes in enumerate(table.classes) if classes == (3,)]
    queries = Counter(table.queries[i] for i in of_three)
    first = Counter(table.supports[i][0][0] for i in of_three)
    sets = Counter(frozenset(table.supports[i][0]) for i in of_three)
    assert (len(queries), len(first), len(sets)) == (7, 7, len(list(combinations(range(7), 3))))
    for counts in (queries, first, sets):
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    pairs = Counter((table.queries[i], table.supports[i][0][0]) for i in of_three)
    assert len(pairs) == 42
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3


# What the draws depend on


def test_a_shorter_table_is_the_beginning_of_a_longer_one() -> None:
    long = sample_episodes(protocol_of(500), 1, FIVE, 2, 3)
    for count in (30, 31, 499, 500):
        short = sample_episodes(protocol_of(count), 1, FIVE, 2, 3)
        assert short == long.head(count)
        assert (short.digest == long.digest) == (count == 500)


def test_neither_order_nor_repetition_nor_other_classes_matter() -> None:
    plain = sample_episodes(protocol_of(100), 1, FIVE, 2, 2)
    rng = np.random.RandomState(0)
    for _ in range(5):
        keys = [int(k) for k in rng.permutation(list(FIVE))]
        turned = {k: [FIVE[k][i] for i in rng.permutation(len(FIVE[k]))] + FIVE[k][:3] for k in keys}
        assert sample_episodes(protocol_of(100), 1, {20: ["x"], **turned, 9: FIVE[1]}, 2, 2) == plain


def test_the_seed_the_fold_the_ways_and_the_shots_matter() -> None:
    pairs = pairs_of(dict.fromkeys(range(1, 11), 20))
    same = dict.fromkeys(range(1, 11), pairs[1])
    assert sample_episodes(protocol_of(50, 1), 1, pairs, 1, 1) != sample_episodes(protocol_of(50, 2), 1, pairs, 1, 1)
    one, two = (sample_episodes(protocol_of(50), fold, same, 1, 1).queries for fold in (1, 2))
    assert one != two
    one, two = (sample_episodes(protocol_of(50), 1, pairs, 1, shot).queries for shot in (1, 2))
    assert one != two
    one, two = (sample_episodes(protocol_of(50), 1, pairs, way, 1).queries for way in (1, 2))
    assert one != two


def test_nothing_else_of_the_protocol_matters() -> None:
    other = dataclasses.replace(PASCAL, name="other", version=9, image=dataclasses.replace(PASCAL.image, size=64))
    assert sample_episodes(other, 1, FIVE, 1, 1) == sample_episodes(PASCAL, 1, FIVE, 1, 1)


# Supports with replacement


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (1, 5), (3, 2)])
def test_classes_and_queries_are_those_without_replacement(way: int, shot: int) -> None:
    plain, repeated = (sample_episodes(make(200), 1, FIVE, way, shot) for make in (protocol_of, with_replacement))
    assert (plain.classes, plain.queries) == (repeated.classes, repeated.queries)
    assert (plain == repeated) == (way * shot == 1)


def test_supports_repeat_as_often_as_independent_draws_do() -> None:
    """Nine other images, five draws: all differ in 15,120 of 59,049 cases."""
    table = sample_episodes(with_replacement(20_000), 1, pairs_of(dict.fromkeys(range(1, 6), 10)), 1, 5)
    assert not any(query in ways[0] for query, ways in zip(table.queries, table.supports, strict=True))
    different = sum(len(set(ways[0])) == 5 for ways in table.supports)
    assert stats.binomtest(different, 20_000, 15_120 / 59_049).pvalue > 1e-3
    last = Counter(ways[0][4] for (c,), ways in zip(table.classes, table.supports, strict=True) if c == 2)
    assert len(last) == 10
    assert stats.chisquare(list(last.values())).pvalue > 1e-3


def test_two_images_of_a_class_are_enough_with_replacement() -> None:
    pairs = pairs_of(dict.fromkeys(range(1, 6), 2))
    table = sample_episodes(with_replacement(30), 1, pairs, 2, 5)
    for i, (c, other) in enumerate(table.classes):
        (left,) = set(pairs[c]) - {table.queries[i]}
        assert table.supports[i][0] == (left,) * 5
        assert set(table.supports[i][1]) <= set(pairs[other])
    with pytest.raises(UserError, match="5-shot episodes need 2 test images of each held-out class, but 'bird' has 1"):
        sample_episodes(with_replacement(30), 1, {**pairs, 3: ["x"]}, 1, 5)


SMALL = {6: ["b", "a", "c"], 7: ["d", "e"], 8: ["a", "f", "g", "h"], 9: ["i", "j"], 10: ["k", "l", "m"]}
SMALL_CSV = """\
class_1,query,support_1_1
10,k,m
7,e,d
8,h,a
10,l,m
10,m,k
6,c,a
8,h,g
10,m,k
7,e,d
7,e,d
6,b,c
10,m,k
9,j,i
10,k,m
9,i,j
7,d,e
"""
SMALL_DIGEST = "082a687b566daf6c14b9e02945ff73639dd33704674414aa91d16f7897a22419"
LARGE_DIGEST = "015082c1665a8252a7e26015399cac570540edc6a7958f3de5180a4cb33e2b9b"


def test_a_small_table_is_pinned() -> None:
    """These rows and this digest must never change: recorded runs name them."""
    table = sample_episodes(protocol_of(16), 2, SMALL, 1, 1)
    assert table.frame().to_csv(index=False, lineterminator="\n") == SMALL_CSV
    assert table.digest == SMALL_DIGEST == hashlib.sha256(SMALL_CSV.encode()).hexdigest()


def test_a_large_table_is_pinned() -> None:
    table = sample_episodes(PASCAL, 1, FIVE, 2, 5)
    assert len(table) == 1000
    assert table.digest == LARGE_DIGEST


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    code = (
        "from fsseg_bench.protocol.load import *; from fsseg_bench.protocol.episodes import *\n"
        f"print(sample_episodes(replace_episodes(load_protocol('pascal5i'), 16), 2, {SMALL!r}, 1, 1).digest)"
    )
    for hash_seed in ("1", "2"):
        assert python(code, PYTHONHASHSEED=hash_seed).strip() == SMALL_DIGEST


# What cannot be drawn


def test_classes_with_too_few_images_are_all_named() -> None:
    pairs = pairs_of({1: 5, 2: 6, 3: 0, 5: 2})
    with pytest.raises(UserError) as error:
        sample_episodes(PASCAL, 1, pairs, 1, 5)
    assert str(error.value) == (
        "pascal5i: 5-shot episodes need 6 test images of each held-out class, but 'aeroplane' has 5, 'bird' has 0, "
        "'boat' has 0, 'bottle' has 2 (counted are images of val with at least 2048 pixels of the class); "
        "lower --shot or data.min_object_pixels, or add images"
    )


def test_exactly_enough_images_are_enough() -> None:
    pairs = pairs_of(dict.fromkeys(range(1, 6), 6))
    table = sample_episodes(protocol_of(30), 1, pairs, 1, 5)
    for i, (c,) in enumerate(table.classes):
        assert sorted(table.images(i)) == sorted(pairs[c])


def test_images_that_another_way_uses_can_run_out() -> None:
    pairs = {c: ["a", "b", "c"] for c in range(1, 6)}
    with pytest.raises(UserError, match=r"2-way 2-shot: the 3 test images of class '\w+' of pascal5i are too few"):
        sample_episodes(PASCAL, 1, pairs, 2, 2)


@pytest.mark.parametrize(
    ("fold", "way", "shot", "message"),
    [
        (5, 1, 1, "--fold 5: pascal5i has no such fold; its folds are 1 to 4"),
        (0, 1, 1, "--fold 0: pascal5i has no such fold; its folds are 1 to 4"),
        (1, 0, 1, "--way 0: fold 1 of pascal5i allows 1 to 5"),
        (1, 6, 1, "--way 6: fold 1 of pascal5i allows 1 to 5"),
        (1, 1, 0, "--shot 0: at least 1 support a class is needed"),
    ],
)
def test_numbers_out_of_range(fold: int, way: int, shot: int, message: str) -> None:
    with pytest.raises(UserError) as error:
        sample_episodes(PASCAL, fold, FIVE, way, shot)
    assert str(error.value) == message


def test_too_few_episodes_say_how_many_would_do() -> None:
    with pytest.raises(UserError, match="3 episodes leave held-out classes without one") as error:
        sample_episodes(replace_episodes(PASCAL, 3), 1, FIVE, 1, 1)
    needed = int(str(error.value).split("--episodes ")[1].rstrip(")"))
    table = sample_episodes(PASCAL, 1, FIVE, 1, 1)
    firsts = [classes[0] for classes in table.classes]
    assert set(firsts[:needed]) == {1, 2, 3, 4, 5} > set(firsts[: needed - 1])
    unreached = [PASCAL.class_name(c) for c in range(1, 6) if c not in firsts[:3]]
    assert f"({', '.join(unreached)})" in str(error.value)
    assert sample_episodes(replace_episodes(PASCAL, needed), 1, FIVE, 1, 1) == table.head(needed)
    with pytest.raises(UserError, match=f"--episodes {needed}"):
        sample_episodes(replace_episodes(PASCAL, needed - 1), 1, FIVE, 1, 1)
