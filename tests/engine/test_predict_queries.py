"""Queries from files, folders and patterns: which are taken, and how many are not."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from fsseg_bench.engine.predict.queries import find_queries
from fsseg_bench.errors import UserError

FILES = (
    "b.jpg",
    "a.PNG",
    "c.jpeg",
    "._b.jpg",
    ".DS_Store",
    "notes.txt",
    "Thumbs.db",
    "dog/a.jpg",
    ".hid/e.jpg",
    "d[1].jpg",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "empty").mkdir()
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("given", "expected", "skipped"),
    [
        (
            [""],
            ["a.PNG", "b.jpg", "broken.jpg", "c.jpeg", "d[1].jpg"],
            {"3 hidden", "2 that are no images", "1 folders"},
        ),
        (["*.jpg"], ["b.jpg", "broken.jpg", "d[1].jpg"], {"1 hidden"}),
        (["**/*.jpg"], ["b.jpg", "broken.jpg", "d[1].jpg", "dog/a.jpg"], {"2 hidden"}),
        (["b.jpg", "notes.txt", "gone.jpg"], ["b.jpg", "notes.txt", "gone.jpg"], set()),
        (["d[1].jpg"], ["d[1].jpg"], set()),
        (["?.jpg", "b.jpg"], ["b.jpg"], {"1 given twice"}),
    ],
)
def test_what_is_taken(folder: Path, given: list[str], expected: list[str], skipped: set[str]) -> None:
    found = find_queries([f"{folder}/{text}" for text in given])
    assert [query.path for query in found.found] == [folder / name for name in expected]
    assert [query.name for query in found.found] == [PurePath(name) for name in expected]
    assert set(found.skipped) - {"1 folders"} == skipped - {"1 folders"}


@pytest.mark.parametrize("given", ["empty", "in/dog/*.png", "nowhere/*.jpg", "in/.hid/*.tif"])
def test_nothing_there(folder: Path, given: str) -> None:
    with pytest.raises(UserError, match=r"no image there.* images end in .*\.jpg"):
        find_queries([folder.parent / given])


def test_nothing_given() -> None:
    with pytest.raises(UserError, match="no query is given"):
        find_queries([])
