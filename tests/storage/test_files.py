import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.storage.files import (
    atomic_writer,
    link_atomic,
    make_folder,
    remove_leftovers,
    write_all,
    write_atomic,
    writing,
)
from fsseg_bench.storage.json_text import plain, write_json


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestAtomic:
    def test_writes_text_and_bytes_and_leaves_nothing_else(self, tmp_path: Path):
        write_atomic(tmp_path / "a", "grün\n")
        write_atomic(tmp_path / "b", b"\x00\xff")
        assert (tmp_path / "a").read_bytes() == b"gr\xc3\xbcn\n"
        assert (tmp_path / "b").read_bytes() == b"\x00\xff"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]

    def test_a_pipe_or_device_is_never_replaced(self, tmp_path: Path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        with pytest.raises(UserError, match="not a regular file"):
            write_atomic(path, "x")
        assert path.is_fifo()
        (tmp_path / "null").symlink_to("/dev/null")
        with pytest.raises(UserError, match="not a regular file"):
            write_atomic(tmp_path / "null", "x")

    def test_respects_the_umask(self, tmp_path: Path):
        old = os.umask(0o027)
        try:
            write_atomic(tmp_path / "a", "x")
        finally:
            os.umask(old)
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640

    def test_syncs_the_file_before_and_the_folder_after_the_rename(self, tmp_path: Path, monkeypatch):
        events = []
        real_fsync, real_replace = os.fsync, Path.replace

        def fsync(handle: int) -> None:
            events.append(("fsync", "folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file"))
            real_fsync(handle)

        def replace(self: Path, target: Path) -> Path:
            events.append(("rename", target.name))
            return real_replace(self, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)
        write_atomic(tmp_path / "a", "x")
        assert events == [("fsync", "file"), ("rename", "a"), ("fsync", "folder")]

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    def test_a_full_disk_keeps_the_old_content(self, tmp_path: Path, monkeypatch, function: str):
        path = tmp_path / "run.json"
        write_atomic(path, "old")
        monkeypatch.setattr(Path if function == "replace" else os, function, full_disk)
        with pytest.raises(UserError, match=r"run\.json: the disk is full .*Nothing recorded before is lost"):
            write_atomic(path, "new")
        monkeypatch.undo()
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["run.json"]

    def test_a_failing_block_keeps_the_old_content_and_its_exception(self, tmp_path: Path):
        path = tmp_path / "a"
        write_atomic(path, "old")
        with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
            file.write(b"half")
            1 / 0  # noqa: B018
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["a"]

    def test_an_unwritable_folder_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"none/a: cannot be written: No such file"):
            write_atomic(tmp_path / "none" / "a", "x")

    def test_the_kernel_refuses_and_a_serialiser_hides_it(self, tmp_path: Path):
        """A real failed write (a limit on file sizes), turned into another exception by the block."""
        code = """
import resource, sys
from pathlib import Path
from fsseg_bench.errors import UserError
from fsseg_bench.storage.files import atomic_writer
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
try:
    with atomic_writer(path) as file:
        try:
            file.write(b"x" * 100_000)
        except OSError as error:
            raise RuntimeError("serialiser failed") from error
except UserError as error:
    assert "the disk is full (File too large)" in str(error), error
    assert path.read_text() == "old"
    sys.exit(7)
"""
        path = tmp_path / "checkpoint.pt"
        path.write_text("old")
        assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 7
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


class TestJson:
    def test_plain_values(self):
        given = {1: (np.int64(2), np.float32(0.5)), "nan": float("nan"), "inf": np.inf, "path": Path("a/b")}
        given["array"] = np.array([[1, 2]])
        assert plain(given) == {
            "1": [2, 0.5],
            "nan": None,
            "inf": None,
            "path": "a/b",
            "array": [[1, 2]],
        }

    def test_what_has_no_json_form_is_a_programming_error(self):
        with pytest.raises(TypeError, match="set has no JSON form"):
            plain({"a": {1, 2}})

    def test_file_ends_with_a_newline_and_reads_back(self, tmp_path: Path):
        write_json(tmp_path / "a.json", {"b": [1, None], "a": "ü"})
        text = (tmp_path / "a.json").read_text(encoding="utf-8")
        assert text.endswith("}\n")
        assert "ü" in text
        assert json.loads(text) == {"b": [1, None], "a": "ü"}


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"^x: the disk is full \(m\)\. .*; free it$"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the disk is full"),
        (errno.EROFS, "^x: cannot be written: m; free it$"),
    ],
)
def test_what_a_failed_write_is_called(number: int, message: str):
    with pytest.raises(UserError, match=message), writing(Path("x"), "free it"):
        raise OSError(number, "m")


class TestLink:
    def test_replaces_by_a_hard_link_and_leaves_nothing_else(self, tmp_path: Path):
        (tmp_path / "a").write_text("new")
        (tmp_path / "b").write_text("old")
        link_atomic(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").samefile(tmp_path / "a")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]

    def test_copies_where_links_are_not_possible(self, tmp_path: Path, monkeypatch):
        def hardlink_to(*_: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
        (tmp_path / "a").write_text("new")
        link_atomic(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_text() == "new"
        assert not (tmp_path / "b").samefile(tmp_path / "a")

    def test_a_full_disk_keeps_the_old_file(self, tmp_path: Path, monkeypatch):
        (tmp_path / "a").write_text("new")
        (tmp_path / "b").write_text("old")
        monkeypatch.setattr(Path, "replace", full_disk)
        with pytest.raises(UserError, match="b: the disk is full"):
            link_atomic(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_text() == "old"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_all_is_written_in_however_many_writes(tmp_path: Path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: pwrite(handle, data[:3], offset))
    with (tmp_path / "a").open("wb") as file:
        write_all(file.fileno(), b"0123456789", 2)
    assert (tmp_path / "a").read_bytes() == b"\0\x000123456789"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path):
    code = """
import os, signal, sys
from pathlib import Path
from fsseg_bench.storage.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "data.tmp").write_text("x")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "data.tmp"]


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/sub: cannot be written: Not a directory; elsewhere"):
        make_folder(tmp_path / "file" / "sub", "elsewhere")
