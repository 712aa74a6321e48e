"""Control episodes: what must hold of each kind, on tables small enough to list what may be drawn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.controls import MASKS, Control, make_controls
from fsseg_bench.protocol.table import NO_COPIES, Crops, EpisodeTable

PAIRS = {c: tuple(f"{c}{letter}" for letter in "abcdefgh") for c in (1, 2, 3)}
QUERIES = ["1a", "2a", "3a", "1b", "2b", "3b"] * 4
TABLE = EpisodeTable(
    tuple((int(query[0]),) for query in QUERIES),
    tuple(QUERIES),
    tuple(((f"{query[0]}{'cdefgh'[i // 3 % 6]}",),) for i, query in enumerate(QUERIES)),
)
SHOWN = {"1a": frozenset({1, 2}), "2a": frozenset({2}), "3a": frozenset({1, 2, 3}), "1b": frozenset({1, 3})}
SHOWN |= {"2b": frozenset({2, 9}), "3b": frozenset({3, 1})}


def made(draws: int = 3, table: EpisodeTable = TABLE, **changes: object) -> dict[str, Control]:
    given = {"pairs": PAIRS, "shown": SHOWN, "copies": NO_COPIES} | changes
    return {one.name: one for one in make_controls(table, draws=draws, **given)}  # type: ignore[arg-type]


def test_names_in_order_and_the_same_every_time() -> None:
    assert list(made()) == ["wrong", "absent", *MASKS, "draw-1", "draw-2", "draw-3"]
    assert [one.digest for one in made().values()] == [one.digest for one in made().values()]
    assert len({one.digest for one in made().values()}) == 8


def test_a_wrong_class_is_any_other_and_the_truth_stays() -> None:
    wrong = made()["wrong"]
    assert wrong.truth == TABLE.classes
    assert wrong.table.queries == TABLE.queries
    assert wrong.episodes == tuple(range(24))
    pairs = Counter((own[0], other[0]) for own, other in zip(TABLE.classes, wrong.table.classes, strict=True))
    assert set(pairs) == {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    for (c,), ((support,),) in zip(wrong.table.classes, wrong.table.supports, strict=True):
        assert support in {own[0][0] for own, (k,) in zip(TABLE.supports, TABLE.classes, strict=True) if k == c}


def test_an_absent_class_is_not_in_the_query_and_is_the_truth() -> None:
    absent = made()["absent"]
    assert absent.truth == absent.table.classes
    assert absent.episodes == tuple(i for i, query in enumerate(QUERIES) if query != "3a")  # shows all three
    found = {(q, c[0]) for q, c in zip(absent.table.queries, absent.table.classes, strict=True)}
    assert found == {("1a", 3), ("2a", 1), ("2a", 3), ("1b", 2), ("2b", 1), ("2b", 3), ("3b", 2)}


def test_masks_change_alone() -> None:
    for name in MASKS:
        one = made()[name]
        assert (one.table, one.truth, one.mask) == (TABLE, TABLE.classes, name)


def test_draws_are_different_supports_of_the_own_class_that_queries_share() -> None:
    controls = made()
    draws = [controls[f"draw-{n}"] for n in (1, 2, 3)]
    for i, query in enumerate(QUERIES):
        drawn = [one.table.supports[i][0][0] for one in draws]
        assert len(set(drawn)) == 3
        assert all(image[0] == query[0] and image != query for image in drawn)
    users = Counter((s, q) for one in draws for q, ((s,),) in zip(one.table.queries, one.table.supports, strict=True))
    assert max(Counter(s for s, _ in users).values()) > 1


def test_sets_of_several_shots_share_no_photo() -> None:
    supports = tuple(
        ((images[:2]),) for images in (PAIRS[int(q[0])][2 + 2 * (i // 8) :] for i, q in enumerate(QUERIES))
    )
    controls = made(draws=2, table=EpisodeTable(TABLE.classes, TABLE.queries, supports))
    sets = {s[0] for n in (1, 2) for s in controls[f"draw-{n}"].table.supports}
    assert sets
    images = [image for own in sets for image in own]
    assert len(images) == len(set(images)) == 2 * len(sets)


def test_no_control_shows_another_crop_of_the_querys_photo() -> None:
    # 1a is a crop of the photo that 2c and 1c show, too
    copies = Crops({"2c": "1a", "1c": "1a", "3c": "1a"})
    for one in made(copies=copies).values():
        if one.mask == "":
            for query, (supports,) in zip(one.table.queries, one.table.supports, strict=True):
                assert query != "1a" or not {"1a", "1c", "2c", "3c"} & set(supports)


def test_a_class_with_too_few_supports_in_the_table_takes_all_of_its_images() -> None:
    few = EpisodeTable(TABLE.classes[:3], TABLE.queries[:3], TABLE.supports[:3])
    controls = made(table=few)
    assert len(controls["draw-3"].table) == 3  # one support of each class would be one draw


def test_an_episode_lacks_the_draws_that_its_class_has_no_sets_for() -> None:
    pairs = {**PAIRS, 1: ("1a", "1b", "1c")}
    rows = [0, 1, 2, 3, 4, 5]
    supports = tuple((("1c",),) if QUERIES[i][0] == "1" else TABLE.supports[i] for i in rows)
    table = EpisodeTable(TABLE.classes[:6], TABLE.queries[:6], supports)
    third = made(pairs=pairs, table=table)["draw-3"]
    assert third.episodes == (1, 2, 4, 5)  # class 1 has two images beside a query


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pairs": {1: PAIRS[1]}}, "a fold of one class has no supports of another class"),
        ({"draws": 1}, "--draws 1: at least 2"),
        ({"table": EpisodeTable(((1, 2),), ("1a",), ((("1b",), ("2b",)),))}, "this run is 2-way"),
    ],
)
def test_what_has_no_controls(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        made(**changes)  # type: ignore[arg-type]


def test_draws_of_more_do_not_move_the_first() -> None:
    few, many = made(draws=2), made(draws=4)
    assert [few[name].digest for name in few] == [many[name].digest for name in few]
    assert all(a != b for a, b in pairwise(one.digest for one in many.values()))
