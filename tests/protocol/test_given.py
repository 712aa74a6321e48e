"""Names of episode lists: which file a fold has, and which files are those of one experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.protocol.given import is_count, list_family, list_path


@pytest.mark.parametrize(
    ("text", "fold", "family"),
    [
        ("a/theirs-1.csv", 1, "a/theirs-{fold}.csv"),
        ("a/theirs-4.csv", 4, "a/theirs-{fold}.csv"),
        ("fold1.csv", 1, "fold{fold}.csv"),
        ("fold0.csv", 1, "fold{fold-1}.csv"),
        ("fold3.csv", 4, "fold{fold-1}.csv"),
        ("pascal_fold0_1shot.csv", 1, "pascal_fold{fold-1}_1shot.csv"),
        ("coco20i-a Fold-2 5shot.csv", 2, "coco20i-a Fold-{fold} 5shot.csv"),
        ("split_3.csv", 3, "split_{fold}.csv"),
        ("a/fold_1/theirs.csv", 1, "a/fold_{fold}/theirs.csv"),
        ("a/Split0/5shot.csv", 1, "a/Split{fold-1}/5shot.csv"),
        ("fold1/theirs-fold2.csv", 1, "fold1/theirs-fold2.csv"),
        ("fold1-old/theirs.csv", 1, "fold1-old/theirs.csv"),
        ("fold1/a/theirs.csv", 1, "fold1/a/theirs.csv"),
        ("fold7.csv", 1, "fold7.csv"),
        ("theirs-2.csv", 1, "theirs-2.csv"),
        ("theirs-0.csv", 1, "theirs-0.csv"),  # a 0 alone says nothing of folds
        ("1-1.csv", 1, "1-1.csv"),
        ("theirs-12.csv", 1, "theirs-12.csv"),
        ("theirs.csv", 2, "theirs.csv"),
        ("fold{fold}/x.csv", 2, "fold{fold}/x.csv"),
        ("1-{fold-1}-1.csv", 1, "1-{fold-1}-1.csv"),
    ],
)
def test_the_files_of_one_experiment(text: str, fold: int, family: str) -> None:
    assert list_family(text, fold) == family
    assert list_path(family, fold) == list_path(text, fold)


def test_lists_counted_from_0_and_from_1_are_two_experiments() -> None:
    assert list_family("fold1.csv", 1) != list_family("fold1.csv", 2)
    assert {list_family(f"fold{fold}.csv", fold) for fold in (1, 2, 3, 4)} == {"fold{fold}.csv"}
    assert {list_family(f"fold{fold - 1}.csv", fold) for fold in (1, 2, 3, 4)} == {"fold{fold-1}.csv"}


def test_the_file_of_a_fold() -> None:
    assert list_path("x/{fold}/{fold-1}.csv", 3) == Path("x/3/2.csv")


@pytest.mark.parametrize(("text", "number"), [("20", True), ("-1", True), ("20.csv", False), ("²", False), ("", False)])
def test_numbers_and_files(text: str, number: bool) -> None:
    assert is_count(text) is number
