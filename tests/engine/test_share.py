"""What of the machine a run may take, by control groups as the system shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsseg_bench.engine import share
from fsseg_bench.engine.share import ALONE, Share, checked_jobs, usable_cores
from fsseg_bench.errors import UserError


@pytest.fixture
def twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with sixteen cores, twelve of which this process may run on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)


@pytest.mark.parametrize(
    ("mine", "limits", "cores"),
    [
        ("0::/\n", {}, 12),
        ("0::/\n", {"": "max 100000"}, 12),
        ("0::/\n", {"": "350000 100000"}, 4),  # 3.5 cores' worth of time
        ("0::/\n", {"": "50000 100000"}, 1),
        ("0::/\n", {"": "3200000 100000"}, 12),
        ("0::/a/b\n", {"a": "200000 100000", "a/b": "max 100000"}, 2),
        ("0::/a/b\n", {"a": "max 100000", "a/b": "300000 100000"}, 3),
        ("0::/a/b\n", {"c": "100000 100000"}, 12),
        ("1:cpu:/x\n0::/a\n", {"a": "200000 100000"}, 2),
        ("1:cpu:/x\n", {"": "200000 100000"}, 2),
        ("0::/../../x\n", {"": "200000 100000"}, 2),  # of a container that sees only its own groups
        ("0::/\n", {"": "nonsense"}, 12),
    ],
)
def test_cores_within_the_limits_of_all_groups(
    tmp_path: Path, twelve: None, mine: str, limits: dict[str, str], cores: int
) -> None:
    (tmp_path / "mine").write_text(mine)
    for folder, text in limits.items():
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / folder / "cpu.max").write_text(text + "\n")
    assert usable_cores(tmp_path / "groups", tmp_path / "mine") == cores
    assert usable_cores(tmp_path / "groups", tmp_path / "nowhere") == 12


def test_runs_at_a_time_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "usable_cores", lambda: 5)
    assert [ALONE.cores, Share(2).cores, Share(5, 5).cores, Share(9).cores] == [5, 2, 1, 1]


def test_how_many_at_a_time() -> None:
    assert [checked_jobs(given) for given in ("auto", "3", 2, "1")] == ["auto", 3, 2, 1]
    for wrong in ("0", "-2", "many", "1.5", ""):
        with pytest.raises(UserError, match=f"--jobs {wrong}: use auto, or how many runs"):
            checked_jobs(wrong)
