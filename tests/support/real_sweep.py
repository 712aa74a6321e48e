"""A sweep of true runs, as small as they can be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsseg_bench.engine.plan_sweep import plan_sweep
from fsseg_bench.sweeps.plan import Plan
from fsseg_bench.sweeps.planned import planned
from fsseg_bench.sweeps.spec import parse_spec
from fsseg_bench.sweeps.states import states_of
from tests.support.fakes import until
from tests.support.fresh import ROOT
from tests.support.same_records import same_records

_COMMON = {"dataset": "shapes5i", "iterations": 2, "episodes": 150, "panels": 0}


def real_sweep(root: Path, **tables: Mapping[str, Any]) -> tuple[Path, Plan]:
    """The folder and the plan of a sweep of two folds, for the CPU."""
    grid = {"method": ["baseline"], "shot": [1], "fold": [1, 2]}
    spec = parse_spec(
        {"name": "real", "common": _COMMON, "grid": grid, "cell": {"gpus": 0, "workers": 0}, **tables}, "tests"
    )
    return planned(spec, root, lambda: plan_sweep(spec, root))


def until_evaluating(folder: Path, count: int, episodes: int = 5) -> None:
    """Waits until so many cells have recorded some episodes, and are at work."""
    until(lambda: sum(s.state == "running" and s.evaluated >= episodes for s in states_of(folder)) >= count)


def as_undisturbed(root: Path, by_hand: Path) -> None:
    """All runs of the sweep in ``root`` are done, and as those that nobody disturbed, each by its command alone."""
    _, plan = real_sweep(by_hand)
    for cell in plan.cells:
        subprocess.run([sys.executable, "-m", "fsseg_bench", *cell.command, "--quiet"], cwd=ROOT, check=True)
    assert same_records(by_hand, root) == len(plan.cells) == 2
