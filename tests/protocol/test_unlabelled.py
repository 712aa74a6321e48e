"""Further images: of the class, outside the episode, uniform, the same for ever."""

from __future__ import annotations

from collections import Counter

import pytest
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.protocol.unlabelled import further_images, further_of_table

PAIRS = {1: [f"a{i}" for i in range(8)], 2: [f"b{i}" for i in range(5)]}


def test_they_are_different_images_of_each_class_outside_the_episode() -> None:
    first, second = further_images(3, (1, 2), ["a0", "b4", "a1"], PAIRS, 4)
    assert len(set(first)) == len(set(second)) == 4
    assert set(first) <= set(PAIRS[1]) - {"a0", "a1"}
    assert set(second) <= set(PAIRS[2]) - {"b4"}


def test_the_draw_depends_on_seed_and_images_alone() -> None:
    again = {c: list(reversed(images)) for c, images in PAIRS.items()}
    assert further_images(3, (1,), ["a0"], PAIRS, 4) == further_images(3, (1,), ["a0"], again, 4)
    assert further_images(3, (1,), ["a0"], PAIRS, 4) == (("a4", "a2", "a7", "a1"),)  # frozen: for ever the same


def test_each_image_is_as_likely() -> None:
    drawn = Counter(image for seed in range(600) for image in further_images(seed, (1,), ["a0"], PAIRS, 2)[0])
    assert set(drawn) == set(PAIRS[1]) - {"a0"}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_few_images_come_again() -> None:
    (drawn,) = further_images(0, (2,), ["b0", "b1", "b2"], PAIRS, 5)
    assert Counter(drawn) in (Counter(b3=3, b4=2), Counter(b4=3, b3=2))


def test_no_other_image_is_an_error() -> None:
    with pytest.raises(UserError, match="class 2 has no image besides"):
        further_images(0, (1, 2), PAIRS[2], PAIRS, 1)


def test_a_table_draws_for_each_episode() -> None:
    table = EpisodeTable(classes=((1,), (2,)), queries=("a0", "b0"), supports=((("a1",),), (("b1",),)))
    drawn = further_of_table(table, PAIRS, 3)
    assert drawn[0] == further_images(table.seed(0), (1,), ("a0", "a1"), PAIRS, 3)
    assert drawn[1] == further_images(table.seed(1), (2,), ("b0", "b1"), PAIRS, 3)
