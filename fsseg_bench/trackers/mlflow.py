"""MLflow: an experiment of the project's name, a run each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from fsseg_bench.trackers.contract import PROJECT, Ending, TrackedRun

_TAG = "fsseg_bench.identity"
_MOST_PARAMS = 100  # of one call: what servers take
_LONGEST = 500  # characters of a parameter that all of its stores take
_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow:
    """Where it writes is said by ``MLFLOW_TRACKING_URI``."""

    def __init__(self) -> None:
        """Imports the module.

        Raises:
            ImportError: it is not installed.
        """
        self._module: Any = importlib.import_module("mlflow")

    def begin(self, run: TrackedRun, step: int) -> None:
        """Goes on with the run of this identity where there is one."""
        mlflow = self._module
        mlflow.set_experiment(PROJECT)
        wanted = f"tags.`{_TAG}` = '{run.identity}'"
        found = mlflow.search_runs(
            experiment_names=[PROJECT], filter_string=wanted, max_results=1, output_format="list"
        )
        if found:
            mlflow.start_run(run_id=found[0].info.run_id)
            return
        mlflow.start_run(run_name=run.title, tags={_TAG: run.identity})
        params = [(key, str(value)[:_LONGEST]) for key, value in run.flat().items()]
        for first in range(0, len(params), _MOST_PARAMS):
            mlflow.log_params(dict(params[first : first + _MOST_PARAMS]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All figures of the step at once."""
        self._module.log_metrics(dict(values), step=step)

    def finish(self, scores: Mapping[str, float], ending: Ending) -> None:
        """Scores are metrics without a step."""
        if scores:
            self._module.log_metrics(dict(scores))
        self._module.end_run(_STATUS[ending])
