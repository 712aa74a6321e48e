"""Tells trackers of a run, and keeps whatever goes wrong with them away from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fsseg_bench.records.request import TrackerName
from fsseg_bench.trackers.contract import Ending, TrackedRun, Tracker
from fsseg_bench.trackers.family import Family
from fsseg_bench.trackers.mlflow import MLflow
from fsseg_bench.trackers.tensorboard import TensorBoard

TRACKERS: Mapping[TrackerName, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": partial(Family, "trackio"),
    "wandb": partial(Family, "wandb"),
    "mlflow": MLflow,
}
"""By the names that users give."""


class Watch:
    """Trackers of one run. They are opened at the first row of the training log, or at the end where none comes.

    A tracker that cannot be imported, or fails, is told once; the run goes on without it.
    """

    def __init__(self, names: Sequence[TrackerName], run: TrackedRun, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._open: dict[TrackerName, Tracker] = {}
        self._begun = False
        for name in dict.fromkeys(names):
            if (tracker := self._guarded(name, "cannot be opened", TRACKERS[name])) is not None:
                self._open[name] = tracker

    def row(self, row: Mapping[str, Any]) -> None:
        """Passes on a row of the training log."""
        if not self._open:
            return
        step = row["iteration"]
        self._begin(step)
        values = {"train/loss": row["loss"], "train/lr": row["lr"], "train/constant predictor": row["constant"]}
        if len(row["parts"]) > 1:
            values |= {f"train/loss {part}": value for part, value in row["parts"].items()}
        self._tell(lambda tracker: tracker.log(step, values))

    def finish(self, scores: Mapping[str, Mapping[str, float | None]], ending: Ending) -> None:
        """Closes all: with scores in [0, 1] by resolution and metric, as run.json has them."""
        if ending != "done" and not self._begun:
            return  # nothing was told, so that there is nothing to close
        self._begin(0)
        flat = {f"test/{name} {resolution}": one for resolution, by in scores.items() for name, one in by.items()}
        finite = {name: value for name, value in flat.items() if value is not None and math.isfinite(value)}
        self._tell(lambda tracker: tracker.finish(finite, ending))
        self._open.clear()

    def _begin(self, step: int) -> None:
        if not self._begun:
            self._begun = True
            self._tell(lambda tracker: tracker.begin(self._run, step))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            self._guarded(name, "failed", partial(what, tracker))

    def _guarded(self, name: TrackerName, what: str, act: Callable[[], Any]) -> Any:
        """What ``act`` gives; None where it fails, and then the tracker is told of and left out."""
        try:
            return act()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code, on which no run depends
            self._open.pop(name, None)
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            advice = f" (pip install {name})" if isinstance(error, ImportError) else ""
            self._say(f"--track {name} {what}: {reason}{advice}; the run goes on without it")
            return None
