import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.records import files
from fsseg_bench.records.files import (
    LineLog,
    LinesError,
    atomic_writer,
    plain,
    read_lines,
    truncate,
    write_atomic,
    write_json,
)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestAtomic:
    def test_writes_text_and_bytes_and_leaves_nothing_else(self, tmp_path: Path):
        write_atomic(tmp_path / "a", "grün\n")
        write_atomic(tmp_path / "b", b"\x00\xff")
        assert (tmp_path / "a").read_bytes() == b"gr\xc3\xbcn\n"
        assert (tmp_path / "b").read_bytes() == b"\x00\xff"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]

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
from fsseg_bench.records.files import atomic_writer
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


class TestLineLog:
    def test_appends_and_goes_on(self, tmp_path: Path):
        path = tmp_path / "a.jsonl"
        with LineLog(path) as log:
            assert log.rows == 0
            log.append({"i": 0})
            log.append({"i": 1, "nan": float("nan")})
            assert log.rows == 2
        with LineLog(path) as log:
            assert log.rows == 2
            log.append({"i": 2})
        assert path.read_bytes() == b'{"i":0}\n{"i":1,"nan":null}\n{"i":2}\n'
        assert read_lines(path) == [{"i": 0}, {"i": 1, "nan": None}, {"i": 2}]

    def test_a_line_is_readable_before_the_log_is_closed(self, tmp_path: Path):
        with LineLog(tmp_path / "a") as log:
            log.append({"i": 0})
            assert read_lines(tmp_path / "a") == [{"i": 0}]

    @pytest.mark.parametrize("torn", [b'{"i":2', b'{"i":2}', b"\x00\x00\x00", b'{"i"\n', b"\x00\xff\n", b"\n"])
    def test_a_torn_last_line_is_ignored_and_repaired(self, tmp_path: Path, torn: bytes):
        path = tmp_path / "a"
        whole = b'{"i":0}\n{"i":1}\n'
        path.write_bytes(whole + torn)
        assert read_lines(path) == [{"i": 0}, {"i": 1}]
        assert path.read_bytes() == whole + torn, "reading must not write"
        with LineLog(path) as log:
            assert log.rows == 2
            assert path.read_bytes() == whole
            log.append({"i": 2})
        assert read_lines(path) == [{"i": 0}, {"i": 1}, {"i": 2}]

    @pytest.mark.parametrize("damaged", [b'{"i":', b"12", b"\x00"])
    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path: Path, damaged: bytes):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"i":0}\n' + damaged + b'\n{"i":2}\n')
        with pytest.raises(LinesError, match=r"a\.jsonl: line 2 is not a JSON object"):
            read_lines(path)

    def test_a_missing_file_has_no_lines(self, tmp_path: Path):
        assert read_lines(tmp_path / "none") == []

    def test_an_unreadable_file_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            read_lines(tmp_path)

    def test_syncs_every_so_many_lines_and_on_close(self, tmp_path: Path, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", calls.append)
        log = LineLog(tmp_path / "a", sync_every=3)
        counts = []
        for i in range(7):
            log.append({"i": i})
            counts.append(len(calls))
        assert counts == [0, 0, 1, 1, 1, 2, 2]
        log.close()
        log.close()
        assert len(calls) == 3

    def test_a_full_disk_half_way_through_a_line_leaves_the_earlier_ones(self, tmp_path: Path, monkeypatch):
        path = tmp_path / "episodes.jsonl"
        log = LineLog(path)
        log.append({"i": 0})
        real = os.pwrite
        calls = []

        def pwrite(handle: int, data: bytes, offset: int) -> int:
            calls.append(offset)
            if len(calls) == 1:
                return real(handle, bytes(data)[:3], offset)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(UserError, match=r"episodes\.jsonl: the disk is full"):
            log.append({"i": 1})
        monkeypatch.undo()
        assert path.read_bytes() == b'{"i":0}\n'
        log.append({"i": 2})
        log.close()
        assert path.read_bytes() == b'{"i":0}\n{"i":2}\n'

    def test_the_kernel_refuses_a_line(self, tmp_path: Path):
        code = """
import resource, sys
from pathlib import Path
from fsseg_bench.errors import UserError
from fsseg_bench.records.files import LineLog
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with LineLog(Path(sys.argv[1])) as log:
        for i in range(100):
            log.append({"i": i, "filling": "x" * 50})
except UserError:
    sys.exit(7)
"""
        path = tmp_path / "a"
        assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 7
        data = path.read_bytes()
        assert 900 < len(data) <= 1000
        assert data.endswith(b"\n")
        assert [row["i"] for row in read_lines(path)] == list(range(len(data.splitlines())))

    def test_an_unwritable_place_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match="none/a: cannot be written"):
            LineLog(tmp_path / "none" / "a")

    @pytest.mark.parametrize("delay", [0.0, 0.02, 0.05])
    def test_killed_while_appending(self, tmp_path: Path, delay: float):
        """SIGKILL at any moment leaves whole lines 0..n, and the next writer goes on at n + 1."""
        code = """
import sys
from pathlib import Path
from fsseg_bench.records.files import LineLog
log = LineLog(Path(sys.argv[1]))
i = log.rows
while True:
    log.append({"i": i, "filling": list(range(2000))})
    if i == 0:
        print("started", flush=True)
    i += 1
"""
        path = tmp_path / "a"
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with LineLog(path) as log:
            rows = log.rows
            assert rows >= 1
            log.append({"i": rows, "filling": []})
        assert [row["i"] for row in read_lines(path)] == list(range(rows + 1))
        assert all(row["filling"] == list(range(2000)) for row in read_lines(path)[:-1])


class TestTruncate:
    @pytest.mark.parametrize(("keep", "left"), [(0, 0), (2, 2), (3, 3), (9, 3)])
    def test_keeps_the_first_lines(self, tmp_path: Path, keep: int, left: int):
        path = tmp_path / "a"
        with LineLog(path) as log:
            for i in range(3):
                log.append({"i": i})
        truncate(path, keep)
        assert read_lines(path) == [{"i": i} for i in range(left)]

    def test_a_missing_file_and_a_negative_number(self, tmp_path: Path):
        truncate(tmp_path / "none", 3)
        assert not (tmp_path / "none").exists()
        with pytest.raises(ValueError, match="at least 0"):
            truncate(tmp_path / "none", -1)


def test_every_way_of_being_full_is_called_so():
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        assert "the disk is full" in str(files.write_error(Path("x"), OSError(number, "m")))
    assert "cannot be written: m" in str(files.write_error(Path("x"), OSError(errno.EACCES, "m")))
