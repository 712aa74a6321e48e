"""The runs of one command: what is told of them, and what is left of each by its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.jobs import job_of, run_all
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.progress import Job, Progress
from tests.support.tiny_run import Watched, tiny_request, tiny_training


class Told(Watched):
    """Remembers the jobs."""

    def __init__(self, stop: tuple[str, int] = ("", 0)) -> None:
        super().__init__(*stop)
        self.ahead: Sequence[Job] = ()
        self.order: list[int] = []

    def jobs(self, jobs: Sequence[Job], side_by_side: int = 1) -> None:
        self.ahead = jobs

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        self.order.append(number)
        yield self


def test_runs_are_told_beforehand_and_what_is_done_is_not_counted_again(tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=3, settings=tiny_training())
    requests = [request, replace(request, fold=2)]
    opened: OpenSources = {}
    with pytest.raises(KeyboardInterrupt):
        run_all(plan_all(requests, opened), opened, Told(("evaluate", 5)))
    stopped = Told()
    folders = run_all(plan_all(requests, opened), opened, stopped)
    assert [job.title for job in stopped.ahead] == ["baseline fold 1", "baseline fold 2"]
    assert [dict(job.steps) for job in stopped.ahead] == [{"evaluate": 7}, {"train": 3, "evaluate": 12}]
    assert stopped.ahead[0].kind == stopped.ahead[1].kind
    assert stopped.order == [0, 1]
    assert [line.partition(" %")[0].rpartition(" ")[0] for line in stopped.said if "mean IoU" in line] == [
        "baseline fold 1: mean IoU",
        "baseline fold 2: mean IoU",
    ]

    finished = Told()
    assert run_all(plan_all(requests, opened), opened, finished) == folders
    assert [dict(job.steps) for job in finished.ahead] == [{}, {}]
    assert finished.said == []
    anew = plan_all([replace(request, fresh=True)], opened)
    assert dict(job_of(anew.runs[0]).steps) == {"train": 3, "evaluate": 12}
