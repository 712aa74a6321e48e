"""What of the machine a run may take."""

from __future__ import annotations

import pytest

from fsseg_bench.engine import share
from fsseg_bench.engine.share import ALONE, Share, checked_jobs
from fsseg_bench.errors import UserError


def test_runs_at_a_time_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "usable_cores", lambda: 5)
    assert [ALONE.cores, Share(2).cores, Share(5, 5).cores, Share(9).cores] == [5, 2, 1, 1]


def test_how_many_at_a_time() -> None:
    assert [checked_jobs(given) for given in ("auto", "3", 2, "1")] == ["auto", 3, 2, 1]
    for wrong in ("0", "-2", "many", "1.5", ""):
        with pytest.raises(UserError, match=f"--jobs {wrong}: use auto, or how many runs"):
            checked_jobs(wrong)
