"""Names of files as people have them: what is data, and which file a name stands for."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from fsseg_bench.data.decode import read_file
from fsseg_bench.data.files import MASK_SUFFIXES, data_files, exact_file, find_file, find_named, passed_over, shown
from fsseg_bench.errors import UserError

COMPOSED, DECOMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_is_data(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.JPG", "a.png", "c.WebP", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.md", "d/e.png"
    )
    assert [path.name for path in data_files(tmp_path)] == ["a.png", "b.JPG", "c.WebP"]
    assert [path.name for path in data_files(tmp_path, MASK_SUFFIXES)] == ["a.png"]
    hidden, others = passed_over(tmp_path, (".png",))
    assert hidden == [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini"]
    assert others == ["b.JPG", "c.WebP", "notes.md"]
    assert data_files(tmp_path / "none") == []
    assert shown(list("abcd")) == "4 (a, b, c, ...)"


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("1.PNG", "1"),
        ("a.b.Png", "a.b"),
        ("sub/x.png", "sub\\x"),
        ("my dog.png", "my%20dog"),
        ("100%25.png", "100%25"),  # as it stands first
        (f"{COMPOSED}.png", DECOMPOSED),
        (f"{DECOMPOSED}.png", COMPOSED),
        (f"{DECOMPOSED}/1.png", f"{COMPOSED}\\1"),
        (f"{COMPOSED}.png", "caf%C3%A9"),
    ],
)
def test_a_stem_in_other_words(tmp_path: Path, file: str, asked: str) -> None:
    touch(tmp_path, file, "._1.png")
    assert find_file(tmp_path, asked, (".png",)) == tmp_path / file
    assert find_named(tmp_path, f"{asked}.png") == tmp_path / file
    assert find_file(tmp_path, asked, (".jpg",)) is None


@pytest.mark.parametrize("stem", ["", ".", "..", "x/", "sub", "x\0y", "n" * 300])
def test_what_names_no_file(tmp_path: Path, stem: str) -> None:
    touch(tmp_path, "x.png", "sub/y.png")
    assert find_file(tmp_path, stem, (".png",)) is None
    assert exact_file(tmp_path, stem, (".png",)) is None
    assert find_named(tmp_path, stem) is None


def test_an_exact_name_goes_first(tmp_path: Path) -> None:
    touch(tmp_path, f"{COMPOSED}.png", f"{DECOMPOSED}.png")
    for stem in (COMPOSED, DECOMPOSED):
        assert find_file(tmp_path, stem, (".png",)) == tmp_path / f"{stem}.png"
    assert exact_file(tmp_path, unicodedata.normalize("NFD", "x"), (".png",)) is None


def test_two_files_of_one_stem(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "x.JPEG", "x.png")
    for look in (find_file, exact_file):
        with pytest.raises(UserError, match=r"x\.JPEG and x\.jpg have the same name"):
            look(tmp_path, "x", (".jpg", ".jpeg"))
        assert look(tmp_path, "x", (".png",)) == tmp_path / "x.png"


def test_files_that_come_and_go_are_seen(tmp_path: Path) -> None:
    assert find_file(tmp_path, "x", (".png",)) is None
    touch(tmp_path, "x.png")
    os.utime(tmp_path, ns=(1, 1))  # a coarse clock could give both states one time
    assert find_file(tmp_path, "x", (".png",)) == tmp_path / "x.png"


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    touch(tmp_path, name, "x.png")
    with pytest.raises(UserError, match=r"/caf\\xe9\.png: the name is not UTF-8"):
        data_files(tmp_path)
    assert find_file(tmp_path, "x", (".png",)) == tmp_path / "x.png"
    str(UserError(f"{name} \ud800")).encode()


def test_a_link_whose_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("/nowhere/x.png")
    assert data_files(tmp_path) == [tmp_path / "x.png"]
    with pytest.raises(UserError, match=r"x\.png: the image is a link to /nowhere/x\.png, which is not there"):
        read_file(tmp_path / "x.png", "image")
