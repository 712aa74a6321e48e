"""How many runs of a command are asked for at a time."""

from __future__ import annotations

import pytest

from fsseg_bench.engine.share import checked_jobs
from fsseg_bench.errors import UserError


def test_how_many_at_a_time() -> None:
    assert [checked_jobs(given) for given in ("auto", "3", 2, "1")] == ["auto", 3, 2, 1]
    for wrong in ("0", "-2", "many", "1.5", ""):
        with pytest.raises(UserError, match=f"--jobs {wrong}: use auto, or how many runs"):
            checked_jobs(wrong)
