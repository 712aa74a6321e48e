"""Records read by several processes: what one process reads, in the same order, whatever becomes of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsseg_bench.report import gather
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.scored import ScoredRun
from tests.support.runs import SPREAD, write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven records: one of them is not finished, one was edited."""
    for seed in range(5):
        write_run(tmp_path, SPREAD, seed=seed)
    write_run(tmp_path, SPREAD, seed=5, status="training")
    log = write_run(tmp_path, SPREAD, seed=6) / "episodes.jsonl"
    log.write_bytes(log.read_bytes().replace(b"1", b"2"))
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few records are many."""
    monkeypatch.setattr(gather, "_MANY", 2)
    monkeypatch.setattr(gather, "_AT_ONCE", 2)
    monkeypatch.setattr(gather, "share_here", lambda: type("Share", (), {"cores": 3}))


def test_several_processes_find_what_one_finds(root: Path, request: pytest.FixtureRequest) -> None:
    one = find_runs(root)
    request.getfixturevalue("few")
    several = find_runs(root)
    assert [run.record.folder for run in several.done] == [run.record.folder for run in one.done]
    assert len(one.done) == 5
    assert (several.unfinished, several.warnings) == (one.unfinished, one.warnings)
    assert (len(one.unfinished), len(one.warnings)) == (1, 1)
    for mine, other in zip(one.done, several.done, strict=True):
        assert mine.record.settings == other.record.settings
        assert mine.score("binary", "native") == other.score("binary", "native")
        assert mine.counts.boundary is None
        assert other.counts.boundary is None
        assert all((a == b).all() for a, b in zip(mine.counts[:3], other.counts[:3], strict=True))


@pytest.mark.usefixtures("few")
def test_scores_come_with_the_records(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found, *_) = find_runs(root).done
    monkeypatch.setattr("fsseg_bench.report.scored.mean_iou", None)
    assert 0 < found.score("mean", "input") < 1


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("lost", ["all", "none can be started"])
def test_processes_that_die_leave_the_records_to_this_one(
    root: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> object:
        raise OSError(11, "Resource temporarily unavailable")

    pool = gather.Pool
    dying = lambda _target, slots: pool("tests.report.test_gather:killed", slots)  # noqa: E731
    monkeypatch.setattr(gather, "Pool", dying if lost == "all" else none)
    found = find_runs(root)
    assert len(found.done) == 5
    assert all(isinstance(run, ScoredRun) for run in found.done)


def killed() -> object:
    """What a process does that dies at its first task."""
    os._exit(3)
