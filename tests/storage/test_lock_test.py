import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsseg_bench.storage.lock_test import LockFacts, Mount, locks_hold, mount_of


def test_locks_of_this_file_system_hold_and_nothing_is_left(tmp_path: Path) -> None:
    facts = locks_hold(tmp_path / "runs")
    assert facts.inside == "hold"
    assert list((tmp_path / "runs").iterdir()) == []


def test_locks_that_are_missing_and_locks_that_keep_nobody_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)  # the other process is not patched, and gets the lock
    assert locks_hold(tmp_path).inside == "do not hold"

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert locks_hold(tmp_path).inside == "are missing"


@pytest.mark.parametrize(
    ("kind", "options", "inside", "words"),
    [
        ("ext4", "rw", "hold", ""),
        ("", "", "hold", ""),
        (
            "nfs4",
            "rw,vers=4.2,local_lock=none",
            "hold",
            "runs (nfs4): locks hold between processes of this machine; between machines the server and the heartbeat "
            "decide",
        ),
        (
            "nfs",
            "rw,nolock",
            "hold",
            "runs (nfs): locks hold between processes of this machine; they do not reach other machines (mounted with "
            "nolock), where the heartbeat decides",
        ),
        (
            "lustre",
            "rw,localflock",
            "hold",
            "runs (lustre): locks hold between processes of this machine; they do not reach other machines (mounted "
            "with localflock), where the heartbeat decides",
        ),
        (
            "lustre",
            "rw",
            "are missing",
            "runs (lustre): this file system has no locks: files with a heartbeat take their place; between machines, "
            "too",
        ),
        (
            "vfat",
            "rw",
            "do not hold",
            "runs (vfat): its locks keep nobody out: files with a heartbeat take their place",
        ),
    ],
)
def test_words(kind: str, options: str, inside, words: str) -> None:
    mount = Mount(kind, frozenset(options.split(","))) if kind else None
    assert LockFacts(Path("runs"), mount, inside).words == words


def test_the_mount_is_that_of_the_longest_prefix(tmp_path: Path) -> None:
    place = os.path.realpath(tmp_path)
    mounts = tmp_path / "mounts"
    (tmp_path / "my data" / "runs").mkdir(parents=True)
    (tmp_path / "my data2").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "my data")
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {place}/my\\040data nfs rw,nolock 0 0\n"
        f"server:/y {place}/my\\040data/runs fuse.sshfs rw 0 0\n"
        f"server:/z {place}/my\\040data/runs lustre rw,flock 0 0\n"
    )
    assert mount_of(tmp_path / "my data", mounts) == Mount("nfs", frozenset(["rw", "nolock"]))
    assert mount_of(tmp_path / "link" / "deeper", mounts) == Mount("nfs", frozenset(["rw", "nolock"]))
    assert mount_of(tmp_path / "my data" / "runs", mounts) == Mount("lustre", frozenset(["rw", "flock"]))
    assert mount_of(tmp_path / "my data2", mounts) == Mount("ext4", frozenset(["rw"]))
    assert mount_of(tmp_path, tmp_path / "none") is None


@pytest.mark.skipif(sys.platform != "linux", reason="stat -f names file systems on Linux")
def test_the_kind_of_file_system_is_what_the_system_says(tmp_path: Path) -> None:
    said = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    mount = mount_of(tmp_path)
    assert mount is not None
    assert said.strip().removesuffix("fs").startswith(mount.kind.removesuffix("fs")[:3])
