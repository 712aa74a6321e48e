"""What is kept on disk: written whole or not at all, never believed when damaged."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from fsseg_bench.data.cachefile import load_arrays, save_arrays
from fsseg_bench.errors import UserError

ARRAYS: dict[str, Any] = {"a": np.arange(5000), "b": np.array("text"), "names": np.array(["x", "yz"])}


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.npz"
    save_arrays(path, ARRAYS)
    loaded = load_arrays(path, ARRAYS)
    assert loaded is not None
    assert all(np.array_equal(loaded[key], ARRAYS[key]) for key in ARRAYS)
    save_arrays(path, {"a": np.arange(3)})
    replaced = load_arrays(path, ["a"])
    assert replaced is not None
    assert replaced["a"].tolist() == [0, 1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["file.npz"]


def test_absent_or_lacking_an_array(tmp_path: Path) -> None:
    assert load_arrays(tmp_path / "none.npz", ["a"]) is None
    save_arrays(tmp_path / "f.npz", ARRAYS)
    assert load_arrays(tmp_path / "f.npz", ["a", "c"]) is None


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    save_arrays(path, ARRAYS)
    sound = path.read_bytes()
    flipped = bytearray(sound)
    flipped[2000] ^= 1
    for damaged in (b"", b"junk", sound[:3000], sound[:-30], bytes(flipped)):
        path.write_bytes(damaged)
        assert load_arrays(path, ARRAYS) is None


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.array([{"an": "object"}], dtype=object))
    assert load_arrays(tmp_path / "f.npz", ["a"]) is None


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.npz"
    save_arrays(path, ARRAYS)

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"f\.npz: the disk is full .*No space left.*FSSEG_CACHE"):
        save_arrays(path, {"a": np.arange(3)})
    assert load_arrays(path, ARRAYS) is not None, "the old file is still there"
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save_arrays(tmp_path / "file" / "f.npz", ARRAYS)
