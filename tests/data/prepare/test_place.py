"""Files in their place: whole or not there, and never through a link into somebody else's."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.archives import ArchiveError
from fsseg_bench.data.prepare.manifest import Content, Manifest, crc_of, read_manifest
from fsseg_bench.data.prepare.place import find_files, place_archive, place_folder
from fsseg_bench.data.prepare.sources import FileSet, Part
from fsseg_bench.progress import Progress
from fsseg_bench.storage.files import TEMPORARY
from tests.data.prepare.layouts import tar, tree, zipped

FILES = {"top/a.jpg": b"first", "top/b.jpg": b"second" * 1000, "top/list.txt": b"a\nb\n"}
LAYOUT = FileSet("data/set", {"*.jpg": 2, "list.txt": 1})
PLACED = {f"data/set/{name.removeprefix('top/')}": content for name, content in FILES.items()}


def part(archive: Path) -> Part:
    size, digest = archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest()
    return Part("Set", "free", archive.name, (), size, 1, "top", LAYOUT.target, LAYOUT.files, digest)


def pack(folder: Path, name: str, files: dict[str, bytes] = FILES) -> Path:
    (folder / name).write_bytes(zipped(files) if name.endswith(".zip") else tar(files))
    return folder / name


def loose(folder: Path) -> Path:
    """The files out of any archive."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_what_is_placed_and_recorded(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path, name)
    placed = place_archive(archive, part(archive), tmp_path / "root", Progress())
    assert tree(tmp_path / "root") == PLACED
    assert placed == {path: Content(len(content), zlib.crc32(content)) for path, content in PLACED.items()}


def test_whole_files_of_a_zip_are_kept_and_others_replaced(tmp_path: Path) -> None:
    archive = pack(tmp_path, "x.zip")
    place_archive(archive, part(archive), tmp_path / "root", Progress())
    first, second = (tmp_path / "root/data/set" / name for name in ("a.jpg", "b.jpg"))
    second.write_bytes(bytes(6000))  # the right size
    before = first.stat().st_ino
    place_archive(archive, part(archive), tmp_path / "root", Progress())
    assert first.stat().st_ino == before
    assert tree(tmp_path / "root") == PLACED


def test_an_archive_with_too_few_files_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    archive = pack(tmp_path, "x.zip", {"top/a.jpg": b"first", "top/list.txt": b""})
    with pytest.raises(ArchiveError, match=r"holds 1 files top/\*\.jpg; it must hold 2"):
        place_archive(archive, part(archive), tmp_path / "root", Progress())
    assert not (tmp_path / "root").exists()


def test_nothing_is_written_through_a_link_of_an_interrupted_attempt(tmp_path: Path) -> None:
    """A kill between linking and renaming leaves a second name of the user's own file."""
    theirs = tmp_path / "theirs.jpg"
    theirs.write_bytes(b"precious")
    folder = tmp_path / "root/data/set"
    folder.mkdir(parents=True)
    os.link(theirs, folder / f".a.jpg.1-abc{TEMPORARY}")
    (folder / f".b.jpg.1-abc{TEMPORARY}").symlink_to(theirs)
    archive = pack(tmp_path, "x.tar")
    place_archive(archive, part(archive), tmp_path / "root", Progress())
    assert theirs.read_bytes() == b"precious"
    assert tree(tmp_path / "root") == PLACED


def test_a_linked_file_that_is_replaced_stays_the_users(tmp_path: Path) -> None:
    theirs = loose(tmp_path / "theirs")
    files = find_files(theirs / "top", LAYOUT)
    assert list(files) == ["a.jpg", "b.jpg", "list.txt"]
    placed = place_folder(files, LAYOUT, tmp_path / "root", Progress())
    assert tree(tmp_path / "root") == PLACED
    assert placed["data/set/a.jpg"] == Content(5, zlib.crc32(b"first"))
    archive = pack(tmp_path, "x.tar", {**FILES, "top/a.jpg": b"other"})
    place_archive(archive, part(archive), tmp_path / "root", Progress())
    assert (theirs / "top/a.jpg").read_bytes() == b"first"
    assert (tmp_path / "root/data/set/a.jpg").read_bytes() == b"other"


def test_links_in_a_given_folder_lead_to_their_files(tmp_path: Path) -> None:
    real = loose(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    for name in ("a.jpg", "b.jpg", "list.txt"):
        (tmp_path / "linked" / name).symlink_to(real / "top" / name)
    files = find_files(tmp_path / "linked", LAYOUT)
    place_folder(files, LAYOUT, tmp_path / "root", Progress())
    assert tree(tmp_path / "root") == PLACED
    assert not (tmp_path / "root/data/set/a.jpg").is_symlink()


def test_a_folder_that_lacks_a_pattern_has_not_the_layout(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    assert find_files(tmp_path, LAYOUT) == {}
    assert find_files(tmp_path / "none", LAYOUT) == {}


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    files = {f"data/name with  spaces {i}.jpg": Content(i, i * 999_999_937 % 2**32) for i in range(30)}
    Manifest("set", "x.zip sha256:00", files).write(tmp_path)
    assert read_manifest(tmp_path, "set") == Manifest("set", "x.zip sha256:00", files)
    assert read_manifest(tmp_path, "other") is None
    assert [path.name for path in (tmp_path / ".prepared").iterdir()] == ["set.txt"]


def test_changes_are_seen(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"same")
    (tmp_path / "longer").write_bytes(b"longer!")
    files = {name: Content(len(name), zlib.crc32(name.encode())) for name in ("same", "longer", "gone")}
    changed = dict(Manifest("set", "", files).changed(tmp_path))
    assert changed == {
        tmp_path / "longer": "has 7 bytes; it had 6 when it was prepared",
        tmp_path / "gone": "is missing (No such file or directory)",
    }
    assert crc_of(tmp_path / "same") == files["same"].crc
