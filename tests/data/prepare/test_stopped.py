"""Preparations that a kill, an interrupt or a full disk stops end as if nothing had happened."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import LATER, UserError
from tests.data.prepare import server as serve
from tests.data.prepare.layouts import Small, tree
from tests.data.prepare.running import run
from tests.data.prepare.server import Server, serving
from tests.support.fresh import ROOT

KILLS = 50


@pytest.fixture
def server(tiny: Small) -> Iterator[Server]:
    with serving(Server(dict(tiny.archives))) as running:
        yield running


def undisturbed(small: Small, root: Path, server: Server) -> dict[str, bytes]:
    run(small, root, mirrors=(server.url,))
    return tree(root)


def nothing_torn(root: Path, expected: dict[str, bytes]) -> bool:
    """Whether every file of the data set that is there is whole."""
    files = tree(root).items() if root.exists() else []
    data = {name: content for name, content in files if "/." not in f"/{name}"}
    return all(expected[name] == content for name, content in data.items())


def command(small: Small, root: Path, server: Server) -> list[str]:
    line = f"data prepare pascal5i --root {root} --sources {small.sources} --mirror {server.url} --yes"
    return [sys.executable, "-m", "fsseg_bench", *line.split()]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "FSSEG_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def disturb(patch: pytest.MonkeyPatch, strike: Callable[[], None]) -> None:
    """Calls ``strike`` before every operation that changes something on the disk; writes are short ones."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def disturbed(*args: Any, **options: Any) -> Any:
            strike()
            return original(*args, **options)

        return disturbed

    for owner, names in ((Path, ("replace", "mkdir", "touch", "unlink", "rmdir")), (os, ("fsync", "sync", "truncate"))):
        for name in names:
            patch.setattr(owner, name, wrap(getattr(owner, name)))
    pwrite = os.pwrite

    def short(handle: int, data: Any, offset: int) -> int:
        strike()
        return pwrite(handle, data[: 1 + len(data) // 3], offset)

    patch.setattr(os, "pwrite", short)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_full_disk_at_any_moment(
    tiny: Small, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """The disk is full at random moments; each time the message says so, and the same call goes on."""
    operations: list[None] = []
    with monkeypatch.context() as patch:
        disturb(patch, lambda: operations.append(None))
        expected = undisturbed(tiny, tmp_path / "expected", server)
    rng = random.Random(seed)
    left = rng.randrange(1, len(operations) // 2)  # reached though the download may come in fewer pieces this time

    def full() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            left = rng.randrange(1, 10)  # removing a temporary file may fail in silence; another failure comes soon
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failures = 0
    with monkeypatch.context() as patch:
        disturb(patch, full)
        for _ in range(100):
            try:
                run(tiny, tmp_path / "disturbed", mirrors=(server.url,))
            except UserError as error:
                assert "No space left on device" in str(error)
                failures += 1
                left = rng.randrange(1, 200)
                continue
            break
    assert failures
    assert tree(tmp_path / "disturbed") == expected


@pytest.mark.slow
def test_stopped_before_any_operation(
    tiny: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """At every second operation of a preparation, and at each around the end of either part."""
    operations: list[None] = []
    syncs = []

    def sync() -> None:
        operations.append(None)
        syncs.append(len(operations))

    with monkeypatch.context() as patch:
        disturb(patch, lambda: operations.append(None))
        patch.setattr(os, "sync", sync)
        expected = undisturbed(tiny, tmp_path / "expected", server)
    assert len(syncs) == 2
    around = {n for end in (*syncs, len(operations) - 5) for n in range(end - 5, end + 12)}
    stops = 0
    for point in sorted(around | {*range(1, len(operations) + 1, 3)}):
        left = point

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            disturb(patch, stop)
            # How many writes the download takes differs a little, so the last points may not be reached.
            with suppress(KeyboardInterrupt):
                run(tiny, tmp_path / "stopped", mirrors=(server.url,))
        stops += left <= 0
        assert nothing_torn(tmp_path / "stopped", expected), point
        run(tiny, tmp_path / "stopped", mirrors=(server.url,))
        assert tree(tmp_path / "stopped") == expected, point
        shutil.rmtree(tmp_path / "stopped")
    assert stops > 50


@pytest.mark.slow
def test_killed_processes(tiny: Small, tmp_path: Path, server: Server) -> None:
    """50 times SIGKILL at a random moment, one to four times for each data root."""
    server.script = lambda name, number: serve.slow(0.01, pieces=12)
    expected = undisturbed(tiny, tmp_path / "expected", server)
    start = time.monotonic()
    subprocess.run(command(tiny, tmp_path / "timed", server), env=environment(tmp_path), check=True)
    whole = time.monotonic() - start
    assert tree(tmp_path / "timed") == expected
    rng = random.Random(0)
    kills = roots = 0
    while kills < KILLS:
        root, own = tmp_path / f"root{roots}", environment(tmp_path / f"caches{roots}")
        roots += 1
        for _ in range(rng.randrange(1, 5)):
            process = subprocess.Popen(
                command(tiny, root, server), env=own, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.2, 1.0) * whole)
            process.kill()
            _, errors = process.communicate()
            kills += process.returncode == -signal.SIGKILL
            assert process.returncode in {0, -signal.SIGKILL}, errors.decode()
            assert nothing_torn(root, expected), (roots, kills)
        run(tiny, root, mirrors=(server.url,))
        assert tree(root) == expected, (roots, kills)
    assert roots < 3 * KILLS


@pytest.mark.slow
def test_a_small_disk(tiny: Small, tmp_path: Path, server: Server) -> None:
    """A real file system of 64 kB: the archive fills it; with more room the same command goes on."""
    expected = undisturbed(tiny, tmp_path / "expected", server)
    text = tiny.sources.read_text(encoding="utf-8").replace("unpacked = 1000000", "unpacked = 1")
    assert sum(map(len, tiny.archives.values())) > 40_000
    small = Small(tiny.archives, tmp_path / "sources.toml")
    small.sources.write_text(text, encoding="utf-8")
    disk = tmp_path / "disk"
    disk.mkdir()
    prepare = " ".join(command(small, disk / "root", server))
    script = f"""
        set -u
        mount -t tmpfs -o size=64k tmpfs {disk} || exit 77
        {prepare}
        echo "first $?"
        mount -o remount,size=4m {disk}
        {prepare}
        echo "second $?"
        cp -r {disk}/root {tmp_path}/out
    """
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file system may be mounted here")
    assert f"first {LATER}" in done.stdout, done.stderr
    assert "the disk is full (No space left on device)" in done.stderr
    assert "second 0" in done.stdout, done.stderr
    assert tree(tmp_path / "out") == expected
