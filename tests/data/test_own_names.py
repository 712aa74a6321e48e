"""Which list is for training, and what label values are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.own.survey import list_roles, voc_class_names
from fsseg_bench.errors import UserError


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
    ],
)
def test_roles(lists: list[str], train: list[str], test: list[str]) -> None:
    assert list_roles(lists) == (tuple(train), tuple(test))


def test_names_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("ant\nbee\n\n  cow \n")
    assert voc_class_names(tmp_path, 2) == ("ant", "bee", "cow")


def test_labelmes_lines_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nant\nbee\n")
    assert voc_class_names(tmp_path, 2) == ("ant", "bee")


def test_without_a_file_classes_are_numbered(tmp_path: Path) -> None:
    assert voc_class_names(tmp_path, 3) == ("class-1", "class-2", "class-3")


def test_masks_that_show_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no mask shows any class"):
        voc_class_names(tmp_path, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("ant\nbee\n", "has 2 names, but a mask has the label value 3"), ("ant\nbee\nant\n", "names ant more than once")],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes\.txt: {message}"):
        voc_class_names(tmp_path, 3)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"classes\.txt: the names of the classes cannot be read"):
        voc_class_names(tmp_path, 3)
