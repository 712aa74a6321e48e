"""What of the machine a run may take."""

from __future__ import annotations

import pytest

from fsseg_bench.machine import share
from fsseg_bench.machine.share import ALONE, VARIABLE, Share, share_here


def test_runs_at_a_time_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "usable_cores", lambda: 5)
    assert [ALONE.cores, Share(2).cores, Share(5, 5).cores, Share(9).cores] == [5, 2, 1, 1]


def test_a_process_learns_its_share_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert share_here() == ALONE
    for name, value in Share(4, 2).environment.items():
        monkeypatch.setenv(name, value)
    assert share_here() == Share(4, 2)
    for wrong in ("", "4", "4,0", "-1,1", "a,b", "1,2,3"):
        monkeypatch.setenv(VARIABLE, wrong)
        assert share_here() == ALONE
