"""How the command line ends when something goes wrong: in a process of its own where streams matter."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

from fsseg_bench.cli import main as module
from fsseg_bench.cli.main import main
from fsseg_bench.errors import BugError, FullDiskError, LockedError, explain
from fsseg_bench.machine.stopping import Stopped
from tests.support.fresh import ROOT
from tests.support.runs import write_run


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """``fsseg-bench list`` raises ``error``."""

    @click.command("list")
    def broken() -> None:
        raise error

    monkeypatch.setattr(module._Lazy, "get_command", lambda *_: broken)


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/mask.png"), 2, "/data/mask.png: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), 2, "nnn: File name too long"),
        (UnicodeEncodeError("latin-1", "a→b", 1, 2, "ordinal"), 2, r"latin-1, which has no '\u2192'; set PYTHONIOENC"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates"), 2, r"not valid UTF-8 (it holds '\udcff')"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "save the file as UTF-8"),
        (RuntimeError("Could not determine home directory."), 2, "a path begins with ~"),
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (OverflowError("Python int too large to convert to C long"), 2, "a number is out of all bounds"),
        (MemoryError(), 75, "--head-batch 1, --cache-gib 0, --set recipe.batch=... (in training)"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 75, "--precision bf16"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 75, "out of memory ("),
        (RuntimeError("CUDA error: device-side assert triggered\nmore lines"), 2, "torch: CUDA error: device-side"),
        (RuntimeError("CUDA error: unspecified launch failure"), 75, "torch: CUDA error: unspecified launch failure"),
        (LockedError("r: another process is writing"), 75, "error: r: another process is writing"),
        (FullDiskError("r: the disk is full"), 75, "error: r: the disk is full"),
        (Stopped(signal.SIGUSR1), 143, "stopped; the same command goes on from here"),
        (Stopped(signal.SIGINT), 130, "stopped; the same command goes on from here"),
        (
            BugError("1 of 2 runs failed: KeyError: 'x' (own.py, line 3)"),
            70,
            "error: 1 of 2 runs failed: KeyError: 'x'",
        ),
        (ModuleNotFoundError("No module named 'torch'"), 2, "install fsseg-bench again"),
        (ValueError("embedded null byte"), 2, "a NUL character"),
        (KeyError("x"), 70, "KeyError: 'x' (test_endings.py, line"),
        (AssertionError(), 70, "AssertionError: without a message"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 70, "This is a bug of fsseg-bench"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),
    ],
)
def test_every_error_ends_with_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    fails_with(monkeypatch, error)
    assert code_of("list") == code
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert len(err.split("\n")) <= 3, "one line, after an empty one where click ends the line of ^C"


@pytest.mark.parametrize("words", [["--debug", "list"], ["list"]])
def test_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    fails_with(monkeypatch, KeyError("x"))
    if "--debug" not in words:
        monkeypatch.setenv("FSSEG_DEBUG", "1")
    assert code_of(*words) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "This is a bug" in err.splitlines()[-1]


def test_the_last_line_of_a_loaders_traceback_is_the_message() -> None:
    text = 'Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x"\n'
    assert explain(OSError(text + "OSError: [Errno 5] Input/output error: 'a.jpg'")) == (
        "[Errno 5] Input/output error: 'a.jpg'"
    )


def test_no_control_character_of_a_message_reaches_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(monkeypatch, OSError(errno.ENOENT, "No such file", "a\x1b]0;title\x07b"))
    assert code_of("list") == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["\udcff", "a\0b"])
def test_arguments_that_nothing_can_hold(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert code_of("list", "runs", "--results", word) == 2
    assert ascii(word) in capsys.readouterr().err


def process(*words: str | Path, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """``fsseg-bench`` in a process of its own; ``shell`` is what comes after it on the line."""
    line = f'"$0" -m fsseg_bench "$@" {shell}'
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "methods")]), **environment}
    command = ["bash", "-c", line, sys.executable, *map(str, words)]
    return subprocess.run(command, env=variables, capture_output=True, check=False, timeout=300)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_run(tmp_path, method="grün→")
    return tmp_path


def test_a_full_device_as_output(results: Path) -> None:
    done = process("report", "--results", results, shell="> /dev/full")
    assert done.returncode == 75
    assert done.stderr.decode().strip() == "error: standard output cannot be written: No space left on device"


def test_a_reader_that_has_had_enough(results: Path) -> None:
    done = process("report", "--results", results, "--format", "html", shell="| head -c 1; exit ${PIPESTATUS[0]}")
    assert done.returncode in {0, 128 + signal.SIGPIPE}
    assert done.stderr == b""


def test_output_in_an_encoding_without_the_sign(results: Path) -> None:
    done = process("report", "--results", results, PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert b"the output is in " in done.stderr
    assert b"PYTHONIOENCODING=utf-8" in done.stderr
    assert (
        process("report", "--results", results, "--out", results / "t.md", PYTHONIOENCODING="latin-1").returncode == 0
    )
    assert "grün→" in (results / "t.md").read_text(encoding="utf-8")


def test_closed_streams(results: Path) -> None:
    assert process("report", "--results", results, shell="<&-").returncode == 0
    done = process("report", "--results", results, "--out", results / "t.md", shell=">&-")
    assert done.returncode == 0
    assert b"standard output is closed" in done.stderr
    assert process("report", "--results", results, shell="2>&-").returncode == 0
    assert process("report", "--results", results, shell=">&-").returncode == 0  # it asks whether it is a terminal
    assert process("list", "runs", "--results", results, shell=">&- 2>&-").returncode == 0


def test_a_user_who_is_not_there() -> None:
    done = process("list", "runs", "--results", "~nosuchuser/x")
    assert (done.returncode, b"a path begins with ~" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p.toml", "e.csv"])
def test_pipes_are_refused_before_they_are_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    given = {
        "p.toml": ["--dataset", tmp_path / name],
        "e.csv": ["--dataset", "shapes5i", "--episodes", tmp_path / name],
    }
    words = given[name]
    done = process("run", "--method", "baseline", "--fold", "1", *words)
    assert done.returncode == 2
    assert b"not a regular file" in done.stderr


_AS_ANOTHER_USER = """
import contextlib, io, os, sys
from fsseg_bench.cli.main import main
from fsseg_bench.errors import explain
def call():
    try:
        main(sys.argv[1:])
    except SystemExit as stop:
        return stop.code
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    call()  # whatever is imported is imported while it may be read
if not os.getuid():
    os.seteuid(65534)
sys.exit(call())
"""


def test_a_closed_folder_is_named_and_strict_fails() -> None:
    """As an ordinary user: root may look into everything."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        closed = write_run(results, method="panet").parent
        write_run(results)
        results.chmod(0o755)
        closed.chmod(0)
        try:
            for words, expected in ((["report"], 0), (["report", "--strict"], 1), (["list", "runs"], 0)):
                command = [sys.executable, "-c", _AS_ANOTHER_USER, *words, "--results", name]
                paths = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
                variables = {**os.environ, "PYTHONPATH": paths}
                done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
                assert done.returncode == expected, done.stderr
                assert f"skipped: {closed}: cannot be looked into" in done.stderr
                assert "baseline" in done.stdout
                assert "panet" not in done.stdout
        finally:
            closed.chmod(0o755)
