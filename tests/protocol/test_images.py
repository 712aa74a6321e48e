from __future__ import annotations

import numpy as np
import pytest

from fsseg_bench.protocol.images import EpisodeImages, common_numbers, few_images, few_in_folds
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.pairs import episode_table

TABLE = EpisodeTable(
    classes=((1, 2), (2, 1), (1, 2), (1, 2)),
    queries=("a", "c", "a", "b"),
    supports=((("b", "e"), ("c", "d")), (("d", "f"), ("a", "b")), (("b", "e"), ("c", "d")), (("a", "e"), ("c", "d"))),
)


def test_numbers_of_a_table() -> None:
    images = EpisodeImages.of(TABLE)
    name = dict(enumerate(images.names))
    assert sorted(images.names) == list("abcdef")
    assert [name[i] for i in images.queries.tolist()] == list("acab")
    assert [name[i] for i in images.supports[1].ravel().tolist()] == list("dfab")
    assert images.classes.tolist() == [[1, 2], [2, 1], [1, 2], [1, 2]]
    assert images.numbers == (3, 6, 6, 3, 4)  # a, b, c are queries; episode 2 repeats episode 0
    assert images.of_class == {1: 3, 2: 3}  # a, b, e and c, d, f
    head = images.some(range(2))
    assert (head.numbers.episodes, head.numbers.images, head.of_class) == (2, 6, {1: 3, 2: 3})


def test_groups_against_loops() -> None:
    """Which episodes share an image in a role, from the table's text."""
    rng = np.random.default_rng(0)
    table = episode_table([rng.permutation(4)[:2] + 1 for _ in range(60)], images=5, shots=2)
    images = EpisodeImages.of(table)
    sharing, names = images.sharing, images.names
    labels = sorted({c for row in table.classes for c in row})
    for e in range(len(table)):
        group = sharing.query_group[e]
        assert names[sharing.query_image[group]] == table.queries[e]
        assert labels[sharing.query_stratum[group]] == table.classes[e][0] == labels[sharing.strata[e]]
    found = {
        (names[sharing.support_image[g]], labels[sharing.support_class[g]], int(e))
        for g, e in zip(sharing.support_group, sharing.support_episode, strict=True)
    }
    rows = list(zip(table.classes, table.supports, strict=True))
    assert found == {
        (image, c, e) for e, (ways, sets) in enumerate(rows) for c, own in zip(ways, sets, strict=True) for image in own
    }
    for g, share in enumerate(sharing.share):
        image, c = names[sharing.support_image[g]], labels[sharing.support_class[g]]
        possible = [e for e, (ways, _) in enumerate(rows) if c in ways and table.queries[e] != image]
        chosen = [e for e in possible if image in rows[e][1][rows[e][0].index(c)]]
        assert share == pytest.approx(len(chosen) / len(possible), abs=1e-15)
    for s in range(4):
        queries = {table.queries[e] for e in range(len(table)) if table.classes[e][0] == labels[s]}
        assert sharing.images_of_stratum[s] == len(queries)


def test_a_support_that_is_there_twice_counts_once() -> None:
    table = EpisodeTable(((1,), (1,)), ("a", "b"), ((("c", "c"),), (("a", "c"),)))
    sharing = EpisodeImages.of(table).sharing
    assert sorted(zip(sharing.support_group.tolist(), sharing.support_episode.tolist(), strict=True)) == [
        (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip


def test_folds_that_share_images_count_them_once() -> None:
    first = EpisodeImages.of(EpisodeTable(((1,), (1,)), ("a", "b"), ((("b",),), (("c",),))))
    second = EpisodeImages.of(EpisodeTable(((2,), (2,)), ("c", "d"), ((("d",),), (("a",),))))
    count, (one, two) = common_numbers((first, second))
    assert count == 4
    assert {name: one[i] for i, name in enumerate(first.names) if name in second.names} == {
        name: two[i] for i, name in enumerate(second.names) if name in first.names
    }


def test_few_images_are_said() -> None:
    names = {1: "cat", 2: "dog"}
    assert few_images(EpisodeImages.of(TABLE), names) == [
        "only 3 of 4 episodes are different",
        "under 30 test images of a class (cat 3, dog 3): intervals are somewhat narrow with so few images",
    ]
    enough = EpisodeImages.of(episode_table([[1]] * 300, images=30, shots=5))
    assert few_images(enough, names) == []
    many = EpisodeImages.of(episode_table([[c] for c in range(1, 9)] * 9, images=4))
    assert "(cat 4, dog 4, 3 4, 4 4, 5 4, 6 4 and 2 more)" in few_images(many, names)[-1]


def test_several_folds_share_their_sentences() -> None:
    many = EpisodeImages.of(episode_table([[c] for c in range(1, 9)] * 9, images=4))
    enough = EpisodeImages.of(episode_table([[1]] * 300, images=30, shots=5))
    assert few_in_folds({"fold 1": EpisodeImages.of(TABLE), "fold 2": enough, "fold 3": many}) == [
        f"Not all episodes are different: 3 of 4 (fold 1), {many.numbers.different} of 72 (fold 3).",
        "Intervals are somewhat narrow with under 30 test images of a class, as in 2 classes of fold 1 (3), 8 classes "
        "of fold 3 (4).",
    ]
    assert few_in_folds({"fold 2": enough}) == []
