import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import Chain, LineLog, LinesError, read_lines, sound_lines

CHAIN = Chain("run", required=True)
OTHER = Chain("another run", required=True)


def written(path: Path, count: int = 5, chain: Chain = CHAIN) -> bytes:
    with LineLog(path, chain) as log:
        for i in range(count):
            log.append({"i": i, "values": [i, 10 * i]})
    return path.read_bytes()


class TestChecks:
    def test_the_check_is_the_one_computed_by_hand(self, tmp_path: Path):
        data = written(tmp_path / "a", 2)
        bodies = [b'{"i":0,"values":[0,0]}', b'{"i":1,"values":[1,10]}']
        first = hashlib.sha256(b"run\n" + bodies[0]).hexdigest()[:16]
        second = hashlib.sha256(first.encode() + b"\n" + bodies[1]).hexdigest()[:16]
        lines = [
            b'%s,"check":"%s"}\n' % (body[:-1], c.encode()) for body, c in zip(bodies, (first, second), strict=True)
        ]
        assert data == b"".join(lines)
        assert read_lines(tmp_path / "a", CHAIN) == [json.loads(body) for body in bodies]

    def test_any_changed_byte_shows(self, tmp_path: Path):
        data = written(tmp_path / "a")
        rows = sound_lines(data, CHAIN).rows
        starts = [0, *(i + 1 for i, c in enumerate(data) if c == ord("\n"))]
        for place in range(len(data)):
            for flipped in (data[place] ^ 1, data[place] ^ 0x80, ord("0"), ord("\n"), 0):
                if flipped == data[place]:
                    continue
                bad = data[:place] + bytes([flipped]) + data[place + 1 :]
                sound = sound_lines(bad, CHAIN)
                row = sum(start <= place for start in starts) - 1
                assert sound.rows == rows[: len(sound.rows)]
                assert len(sound.rows) <= row
                assert sound.damage is not None or place == len(data) - 1, "the last line's end may have been torn off"

    @pytest.mark.parametrize(
        ("order", "bad"), [([1, 2, 3], 0), ([0, 2, 3], 1), ([0, 1, 1, 2], 2), ([0, 2, 1, 3], 1), ([0, 0], 1)]
    )
    def test_lines_lost_doubled_or_swapped_show(self, tmp_path: Path, order: list[int], bad: int):
        lines = written(tmp_path / "a").splitlines(keepends=True)
        sound = sound_lines(b"".join(lines[i] for i in order), CHAIN)
        assert sound.damage is not None
        assert (len(sound.rows), sound.damage.row) == (bad, bad)
        assert "lost or doubled" in sound.damage.reason

    def test_lines_of_another_run_show(self, tmp_path: Path):
        data = written(tmp_path / "a", chain=OTHER)
        assert sound_lines(data, CHAIN).rows == []
        assert len(sound_lines(data, Chain(None)).rows) == 5, "who does not know the run believes the first line"

    def test_lines_without_checks_are_taken_only_where_an_earlier_version_wrote(self, tmp_path: Path):
        path = tmp_path / "a"
        old = b'{"i":0}\n{"i":1}\n'
        path.write_bytes(old)
        assert str(sound_lines(old, CHAIN).damage) == "row 0 is damaged (it has no check)"
        with LineLog(path, Chain("run")) as log:
            log.append({"i": 2})
        assert read_lines(path, Chain("run")) == [{"i": 0}, {"i": 1}, {"i": 2}]
        assert sound_lines(path.read_bytes() + b'{"i":3}\n', Chain("run")).damage == (3, "it has no check")
        edited = path.read_bytes().replace(b'"i":1', b'"i":7')
        assert sound_lines(edited, Chain("run")).damage is not None, "the first check covers what came before it"

    def test_opening_cuts_at_the_first_bad_line_and_says_so(self, tmp_path: Path):
        path = tmp_path / "a"
        data = written(path)
        path.write_bytes(data.replace(b"[2,20]", b"[2,21]"))
        with LineLog(path, CHAIN) as log:
            assert log.rows == 2
            assert str(log.damage).startswith("row 2 is damaged (its check does not fit")
            for i in (2, 3, 4):
                log.append({"i": i, "values": [i, 10 * i]})
        assert path.read_bytes() == data

    def test_a_row_that_is_refused_is_cut_too(self, tmp_path: Path):
        path = tmp_path / "a"
        written(path)
        refuse = lambda i, row: "too much" if row["values"][1] > 20 else None  # noqa: E731
        with LineLog(path, CHAIN, inspect=refuse) as log:
            assert (log.rows, log.damage) == (3, (3, "too much"))

    def test_what_comes_after_a_limit_is_cut_without_being_damage(self, tmp_path: Path):
        path = tmp_path / "a"
        written(path)
        with LineLog(path, CHAIN, until=lambda row: row["i"] >= 2) as log:
            assert (log.rows, log.damage) == (2, None)
        assert len(read_lines(path, CHAIN)) == 2


@pytest.mark.parametrize(
    "row",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"i":NaN}',
        b'{"i":1e999}',
        b'{"i":' + b"9" * 400 + b"}",
        b'{"i":' + b"9" * 5000 + b"}",
        b'{"i":1,"i":1}',
        b'{"i":"\\ud800"}',
        b'{"check":"0","i":1}',
        b"\xff",
    ],
)
def test_json_that_nothing_should_read(row: bytes):
    assert sound_lines(row + b"\n").damage is not None


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
        assert [b'"check":"' in line for line in path.read_bytes().splitlines()] == [True] * 3
        assert read_lines(path) == [{"i": 0}, {"i": 1, "nan": None}, {"i": 2}]

    def test_a_line_is_readable_before_the_log_is_closed(self, tmp_path: Path):
        with LineLog(tmp_path / "a") as log:
            log.append({"i": 0})
            assert read_lines(tmp_path / "a") == [{"i": 0}]

    @pytest.mark.parametrize("torn", [b'{"i":2', b'{"i":2}', b"\x00\x00\x00"])
    def test_a_torn_last_line_is_ignored_and_repaired(self, tmp_path: Path, torn: bytes):
        path = tmp_path / "a"
        whole = b'{"i":0}\n{"i":1}\n'
        path.write_bytes(whole + torn)
        assert read_lines(path) == [{"i": 0}, {"i": 1}]
        assert path.read_bytes() == whole + torn, "reading must not write"
        with LineLog(path) as log:
            assert log.rows == 2
            assert path.read_bytes() == whole
            assert log.damage is None
            log.append({"i": 2})
        assert read_lines(path) == [{"i": 0}, {"i": 1}, {"i": 2}]

    @pytest.mark.parametrize("damaged", [b'{"i":', b"12", b"\x00"])
    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path: Path, damaged: bytes):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"i":0}\n' + damaged + b'\n{"i":2}\n')
        with pytest.raises(LinesError, match=r"a\.jsonl: line 2: it is not a JSON object"):
            read_lines(path)

    def test_a_missing_file_has_no_lines(self, tmp_path: Path):
        assert read_lines(tmp_path / "none") == []

    def test_an_unreadable_file_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            read_lines(tmp_path)

    def test_syncs_every_so_many_lines_and_on_close(self, tmp_path: Path, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", calls.append)
        monkeypatch.setattr("fsseg_bench.records.lines.SYNC_EVERY", 3)
        log = LineLog(tmp_path / "a")
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
        log = LineLog(path, CHAIN)
        log.append({"i": 0})
        first = path.read_bytes()
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
        assert path.read_bytes() == first
        log.append({"i": 2})
        log.close()
        assert path.read_bytes().startswith(first)
        assert read_lines(path, CHAIN) == [{"i": 0}, {"i": 2}]

    def test_the_kernel_refuses_a_line(self, tmp_path: Path):
        code = """
import resource, sys
from pathlib import Path
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import LineLog
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
from fsseg_bench.records.lines import LineLog
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
