"""Class names in list files: that they are the names written out, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.protocol_text import TEXT, changed, refused, write

CLASSES = 'classes = ["ant", "bee", "cat", "dog", "eel", "fox"]'
FOLD = '1 = ["ant", "bee"]'
LISTED = changed(FOLD, '1 = ["lists/one.txt"]', changed(CLASSES, 'classes = ["ant", "lists/rest.txt"]'))


def files(folder: Path, one: bytes = b"ant\nbee\n", rest: bytes = b"bee\ncat\ndog\neel\nfox\n") -> Path:
    (folder / "lists").mkdir(exist_ok=True)
    (folder / "lists" / "one.txt").write_bytes(one)
    (folder / "lists" / "rest.txt").write_bytes(rest)
    return folder


@pytest.mark.parametrize(
    "one",
    [
        b"ant\nbee\n",
        b"\xef\xbb\xbfant\r\n\r\n  bee\t\r\n",
        b"\n\nant\nbee",
        "ant\nbee\n".encode("utf-16"),
    ],
)
def test_a_list_file_is_the_names_written_out(tmp_path: Path, one: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # lists lie beside the protocol, wherever the command is given
    listed = load_protocol(write(files(tmp_path, one), LISTED))
    written = load_protocol(write(tmp_path))
    assert listed == written
    assert listed.digest == written.digest


def test_names_of_all_keys_with_apostrophes_and_spaces(tmp_path: Path) -> None:
    names = ["abe's_flyingfish", "bear FACE", "ähre", "base one", "watch it"]
    (tmp_path / "own").mkdir()
    for name, some in {"classes": names, "test": names[:3], "trn": names[3:4], "val": names[4:]}.items():
        (tmp_path / "own" / f"{name}.txt").write_text("\n".join(some), encoding="utf-8")
    folds = TEXT[TEXT.index("1 = [") : TEXT.index("\n[data]")]
    text = changed(folds, '1 = ["own/test.txt"]\n', changed(CLASSES, 'classes = ["own/classes.txt"]'))
    text = changed("[folds]", 'base = ["own/trn.txt"]\nvalidation = ["own/val.txt"]\n[folds]', text)
    protocol = load_protocol(write(tmp_path, text))
    assert protocol.classes == tuple(names)
    assert protocol.folds == {1: tuple(names[:3])}
    assert (protocol.base, protocol.validation) == (("base one",), ("watch it",))
    assert (protocol.base_classes(1), protocol.held_out(1)) == ((4,), (1, 2, 3, 5))
    settings = protocol.settings()
    assert (settings["classes"], settings["base"], settings["validation"]) == (names, names[3:4], names[4:])


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (b"ant\n\nbeee\n", "{one}, line 3: unknown class 'beee'. Did you mean 'bee' or 'eel'? Known: ant, bee,"),
        (b"ant\nbee\nant\n", "{one}, line 3: folds.1: 'ant' is there twice; first in {one}, line 1"),
        (b"ant\ncat\n", "class 'cat' is in fold 1 and in fold 2; one is allowed"),
        (b"\n \n", "folds.1: the list file {one} is empty; each line must be a class name"),
        (b"ant\nb\x07e\n", "{one}, line 2: 'b\\x07e' is no class name: it holds a control character"),
        (b"ant\n\xff\n", "{one}: the list file cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, one: bytes, message: str) -> None:
    path = write(files(tmp_path, one), LISTED)
    with pytest.raises(UserError) as error:
        load_protocol(path)
    assert message.format(one=tmp_path / "lists" / "one.txt") in str(error.value)


def test_a_missing_list_file_is_named_with_its_key(tmp_path: Path) -> None:
    where = tmp_path / "lists" / "one.txt"
    files(tmp_path)
    where.unlink()
    assert refused(tmp_path, LISTED).startswith(f"folds.1 names the list file {where}, which does not exist")
    where.mkdir()
    assert refused(tmp_path, LISTED) == f"folds.1: {where}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('base = ["ant"]', "class 'ant' is in fold 1 and in base; one is allowed"),
        ('validation = ["dog"]', "class 'dog' is in fold 3 and in validation; one is allowed"),
        ('base = ["fox"]\nvalidation = ["fox"]', "class 'fox' is in base and in validation; one is allowed"),
        ('base = ["fxo"]', "base: unknown class 'fxo'. Did you mean 'fox'?"),
        ('validation = ["fox", "fox"]', "validation names fox more than once"),
        ('base = [" "]', "base holds an empty name"),
    ],
)
def test_base_and_validation_overlap_nothing(tmp_path: Path, line: str, message: str) -> None:
    assert refused(tmp_path, changed("[folds]", f"{line}\n[folds]")).startswith(message)
