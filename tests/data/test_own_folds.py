"""Classes dealt to folds, by hand-computed examples, and which lists are for training and for testing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.own.folds import propose_folds
from fsseg_bench.data.own.survey import Pixels, Survey, list_roles
from fsseg_bench.errors import UserError

NAMES = tuple("abcdefghij")


def survey(counts: list[int], test: list[int] | None = None, extra: Pixels | None = None) -> Survey:
    """``counts[i]`` images show 50 pixels of class i + 1 and nothing else; ``extra`` are further images."""

    def images(part: str, numbers: list[int]) -> dict[str, dict[int, int]]:
        return {f"{part}{c}-{k}": {c: 50} for c, n in enumerate(numbers, start=1) for k in range(n)}

    train = {**images("a", counts), **(extra or {})}
    lists = (("all",), ("all",)) if test is None else (("train",), ("val",))
    other = train if test is None else images("b", test)
    return Survey(Path("data"), "voc", NAMES[: len(counts)], *lists, train, other, side=40, area=1200)


def test_dealt_in_turn_by_number_of_test_images() -> None:
    """Ranked 10 (h), 9 (a), 8 (d), 7 (b), 6 (c), 5 (e), 4 (f), 3 (g): folds 1 2 3 4 4 3 2 1."""
    folds = propose_folds(survey([5] * 8, test=[9, 7, 6, 8, 5, 4, 3, 10]), 50)
    assert folds.folds == {1: (7, 8), 2: (1, 6), 3: (4, 5), 4: (2, 3)}
    assert folds.left_out == ()
    assert folds.test_images[8] == 10
    assert folds.train_images[8] == 5


def test_ties_go_by_label_value_and_sizes_differ_by_one() -> None:
    assert propose_folds(survey([3] * 6), 50).folds == {1: (1,), 2: (2,), 3: (3, 6), 4: (4, 5)}


def test_classes_with_too_few_images_are_left_out() -> None:
    folds = propose_folds(survey([3, 3, 1, 3, 3, 0], test=[3, 3, 9, 3, 3, 9]), 50)
    assert folds.folds == {1: (1,), 2: (2,), 3: (4,), 4: (5,)}
    assert folds.left_out == (3, 6)


def test_small_objects_do_not_count() -> None:
    with pytest.raises(UserError, match=r"found 0: none"):
        propose_folds(survey([3] * 6), 51)


def test_as_many_folds_as_asked_for() -> None:
    """Without a number four, or one for each class where these are fewer; ranked 4 3 3 3 3 3: there and back."""
    counts = [3, 4, 3, 3, 3, 3]
    assert propose_folds(survey(counts), 50, 1).folds == {1: (1, 2, 3, 4, 5, 6)}
    assert propose_folds(survey(counts), 50, 2).folds == {1: (2, 4, 5), 2: (1, 3, 6)}
    assert propose_folds(survey([3, 1, 3, 3]), 50).folds == {1: (1,), 2: (3,), 3: (4,)}


def test_fewer_classes_than_folds() -> None:
    with pytest.raises(UserError) as error:
        propose_folds(survey([3, 1, 3, 3, 0]), 50, 4)
    assert str(error.value) == (
        "data: 4 folds need at least 4 classes, each with at least 2 images of 50 pixels of it or more; found 3: "
        "a, c, d; with fewer, and so not counted: b (1), e (0). Add classes or images"
    )


def test_classes_that_are_never_apart() -> None:
    """Class 1 has one image of its own; the others show class 2 as well, which fold 2 holds out."""
    together = {f"both{k}": {1: 50, 2: 1} for k in range(5)}
    with pytest.raises(UserError, match=r"fold 2 would hold out b, and without the images .* only 1 remain.*'a'"):
        propose_folds(survey([1, 3, 3, 3], extra=together), 50)
    assert propose_folds(survey([2, 3, 3, 3], extra=together), 50).folds[1] == (1,)


def test_lists_of_their_own_need_no_dropping() -> None:
    together = {f"both{k}": {1: 50, 2: 1} for k in range(5)}
    assert propose_folds(survey([0, 3, 3, 3], test=[3] * 4, extra=together), 50).folds[1] == (1,)


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        (["train", "val"], ["train"], ["val"]),
        (["test", "train", "trainval", "val"], ["train"], ["val"]),
        (["train", "trainaug", "val"], ["trainaug"], ["val"]),
        (["test", "train"], ["train"], ["test"]),
        (["train", "valid"], ["train"], ["valid"]),
        (["train2017", "val2017"], ["train2017"], ["val2017"]),
        (["default"], ["default"], ["default"]),
        (["train"], ["train"], ["train"]),
        (["part1", "part2"], ["part1", "part2"], ["part1", "part2"]),
        (["train1", "train2", "val"], ["train1", "train2"], ["val"]),
        (["Test", "Train"], ["Train"], ["Test"]),
        (["TRAIN_01", "Validation", "test"], ["TRAIN_01"], ["Validation"]),
        (["train2014", "train2017", "val2014", "val2017"], ["train2017"], ["val2017"]),
    ],
)
def test_roles(lists: list[str], train: list[str], test: list[str]) -> None:
    assert list_roles(lists) == (tuple(train), tuple(test))
