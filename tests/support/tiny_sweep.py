"""Sweeps of runs small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsseg_bench.progress import Progress
from fsseg_bench.sweeps.spec import Spec, parse_spec
from tests.support.tiny_run import tiny_request, tiny_training


def tiny_sweep(folder: Path, *, common: dict[str, Any] | None = None, **tables: Any) -> Spec:
    """A sweep over the tiny VOC data in ``folder``, trained for two steps; one fold unless a grid names others."""
    given = tiny_request(folder).given()
    shared = {key: given[key] for key in ("dataset", "backbone", "weights", "device", "panels")}
    shared |= {"iterations": 2, "fold": 1, "set": tiny_training(), **(common or {})}
    tables = {"name": "tiny", "cell": {"workers": 0}, **tables}
    if "method" not in {*shared, *tables.get("grid", {})}:
        shared["method"] = "baseline"
    return parse_spec({"common": shared, **tables}, "tiny.toml")


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        """Keeps it."""
        self.said.append(message)
