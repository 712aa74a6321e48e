"""The family of trackers with ``init``, ``log`` and ``finish``: trackio, wandb."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from inspect import signature
from typing import Any

from fsseg_bench.trackers.contract import PROJECT, Ending, TrackedRun


class Family:
    """A module of this family; where it writes, and as whom, is said by its own variables of the environment."""

    def __init__(self, module: str) -> None:
        """Imports the module.

        Raises:
            ImportError: it is not installed.
        """
        self._module: Any = importlib.import_module(module)

    def begin(self, run: TrackedRun, step: int) -> None:
        """Opens the run of this identity, or a new one."""
        options: dict[str, Any] = {"name": run.title, "config": dict(run.config), "resume": "allow"}
        known = signature(self._module.init).parameters
        if "id" in known:  # without one, wandb resumes nothing; trackio resumes by the name
            options["id"] = run.identity[:16]
        else:
            options["name"] = f"{run.title} {run.identity[:8]}"
        self._module.init(project=PROJECT, **options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All figures of the step at once."""
        self._module.log(dict(values), step=step)

    def finish(self, scores: Mapping[str, float], ending: Ending) -> None:
        """Scores come as one more row, without a step of their own."""
        if scores:
            self._module.log(dict(scores))
        known = signature(self._module.finish).parameters
        self._module.finish(**({"exit_code": int(ending != "done")} if "exit_code" in known else {}))
