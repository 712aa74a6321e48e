"""List files in a protocol: where they are looked for, and that their content is a rule."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
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
