"""What is looked at before a sweep's first cell."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from fsseg_bench.errors import LaterError
from fsseg_bench.sweeps import room
from fsseg_bench.sweeps.plan import read_plan
from fsseg_bench.sweeps.start import ready
from tests.support.sweeps import cell, planned


def test_what_locks_do_is_said_where_they_are_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "a")])
    said: list[str] = []
    assert [state.state for state in ready(folder, read_plan(folder), said.append)] == ["waiting"]
    assert said == []

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    ready(folder, read_plan(folder), said.append)
    assert len(said) == 1
    assert "this file system has no locks: files with a heartbeat take their place" in said[0]


def test_a_sweep_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "a", bytes=10**9)])
    monkeypatch.setattr(room, "free_bytes", lambda _: 10**6)
    with pytest.raises(LaterError, match="ignore-disk"):
        ready(folder, read_plan(folder), lambda _: None)
    assert ready(folder, read_plan(folder), lambda _: None, ignore_disk=True)
