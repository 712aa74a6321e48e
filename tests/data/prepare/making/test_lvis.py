"""The folds of LVIS-92i, counted by hand and as Matcher's slices."""

from __future__ import annotations

from fsseg_bench.data.prepare.making.lvis import deal, images_by_category, not_exhaustive

TABLE = {
    "images": [
        {"id": 1, "not_exhaustive_category_ids": [5, 9]},
        {"id": 2, "not_exhaustive_category_ids": []},
        {"id": 3},
    ],
    "annotations": [
        {"image_id": 1, "category_id": 5},
        {"image_id": 1, "category_id": 5},  # two objects of one class: one image
        {"image_id": 2, "category_id": 5},
        {"image_id": 3, "category_id": 7},
    ],
}


def test_images_are_counted_once() -> None:
    assert dict(images_by_category(TABLE)) == {5: {1, 2}, 7: {3}}


def test_marked_pairs() -> None:
    """Image 1 is marked for 5, which it shows, and for 9, which nothing shows."""
    assert not_exhaustive(TABLE, images_by_category(TABLE), {5, 7}) == (3, 1)
    assert not_exhaustive(TABLE, images_by_category(TABLE), {7}) == (1, 0)


def test_folds_are_dealt_in_turn() -> None:
    """Of 23 kept, the last three are in no fold; fold i has the first class of index i, and each tenth from there."""
    kept = list(range(100, 123))
    folds = deal(kept)
    assert folds == [[100 + f, 110 + f] for f in range(10)]
    for n, size in ((920, 92), (929, 92), (680, 68), (689, 68)):
        folds = deal(list(range(n)))
        assert [len(fold) for fold in folds] == [size] * 10
        assert sorted(category for fold in folds for category in fold) == list(range(10 * size))
        assert all(category == f + 10 * v for f, fold in enumerate(folds) for v, category in enumerate(fold))
