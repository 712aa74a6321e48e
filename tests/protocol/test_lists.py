"""List files in a protocol: where they are looked for, and that their content is a rule."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.lists import is_count, list_family, list_path
from fsseg_bench.protocol.load import load_protocol
from tests.support.protocol_text import changed, write

TEXT = changed('test_list = ["val"]', 'test_list = ["val", "lists/mine.txt"]')


def write_list(folder: Path, text: str = "a\nb\n", name: str = "lists/mine.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_file_lies_beside_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_list(tmp_path)
    write_list(tmp_path / "elsewhere", "other\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    protocol = load_protocol(write(tmp_path, TEXT))
    assert protocol.data.test_list == ("val", str(path))
    assert protocol.list_digests == {str(path): hashlib.sha256(b"a\nb\n").hexdigest()}


def test_settings_hold_name_and_content_not_the_place(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        write_list(tmp_path / place)
        protocol = load_protocol(write(tmp_path / place, TEXT))
        digests.append(protocol.digest)
        expected = "mine.txt sha256:" + hashlib.sha256(b"a\nb\n").hexdigest()
        assert protocol.settings()["data"]["test_list"] == ["val", expected]
        assert "list_digests" not in protocol.settings()
    assert digests[0] == digests[1]


def test_another_content_is_another_protocol(tmp_path: Path) -> None:
    digests = set()
    for text in ("a\nb\n", "a\nc\n"):
        write_list(tmp_path, text)
        digests.add(load_protocol(write(tmp_path, TEXT)).digest)
    assert len(digests) == 2


def test_an_override_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_list(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    protocol = load_protocol("pascal5i", {"data.train_list": "lists/mine.txt,train"})
    assert protocol.data.train_list == (str(path), "train")
    assert protocol.label == "pascal5i[data.train_list=mine.txt,train]"
    assert protocol.digest != load_protocol("pascal5i", {"data.train_list": "train"}).digest


def test_named_lists_are_left_alone(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path))
    assert protocol.data.test_list == ("val",)
    assert protocol.list_digests == {}


def test_a_missing_list_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own\.toml: data\.test_list names .*lists/mine\.txt, which does not exist"):
        load_protocol(write(tmp_path, TEXT))


def test_a_folder_is_no_list_file(tmp_path: Path) -> None:
    (tmp_path / "lists" / "mine.txt").mkdir(parents=True)
    with pytest.raises(UserError, match=r"data\.test_list: .*mine\.txt: cannot be read: Is a directory"):
        load_protocol(write(tmp_path, TEXT))


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
