"""The side of :mod:`fsseg_bench.engine.side_by_side` that makes runs: a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.relay import Event, Sender
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.side_by_side import RunDone, RunTask
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.records.words import result_words


def worker() -> Callable[[RunTask, Callable[[Event], None]], RunDone]:
    """What the process does with each task; data sets stay open between them."""
    opened: OpenSources = {}

    def make(task: RunTask, tell: Callable[[Event], None]) -> RunDone:
        progress = None if task.done else Sender(tell)
        record = execute(make_plan(task.request, opened), progress, share=task.share)
        return RunDone(record.folder, result_words(record.info))

    return make
