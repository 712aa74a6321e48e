"""The runs of one command, one after the other, with what is left of each told beforehand."""

from __future__ import annotations

import time
from pathlib import Path

from fsseg_bench.engine.batch import Batch, Planned
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.plan import OpenSources
from fsseg_bench.engine.run import assist, execute
from fsseg_bench.progress import Job, Progress
from fsseg_bench.records.run import RunRecord


def run_all(batch: Batch, opened: OpenSources, progress: Progress | None = None) -> list[Path]:
    """Makes every run of ``batch`` that is not done; the folders of all.

    Of several processes that torchrun started the first does; the others train with it, and have no folders.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run.execute`, from the first run that fails.
    """
    if processes().rank:
        for planned in batch.runs:
            assist(planned.plan(opened))
        return []
    progress = progress or Progress()
    seeds = len({planned.request.seed for planned in batch.runs}) > 1
    jobs = [job_of(planned, seeds=seeds) for planned in batch.runs]
    progress.jobs(jobs)
    folders = []
    for number, planned in enumerate(batch.runs):
        with progress.job(number) as inside:
            begin = time.monotonic()
            todo = planned.left.status != "done"
            record = execute(planned.plan(opened), inside if todo else None)  # of a finished run there is no news
            if todo:
                progress.say(f"{jobs[number].title}: {_result(record)}, {time.monotonic() - begin:,.0f} s")
        folders.append(record.folder)
    return folders


def job_of(planned: Planned, *, seeds: bool = False) -> Job:
    """A run as a job; with ``seeds`` its title has the training seed."""
    request = planned.request
    title = f"{request.method} fold {request.fold}" + (f" seed {request.seed}" if seeds else "")
    return Job(title, planned.kind, planned.left.steps, planned.speeds)


def _result(record: RunRecord) -> str:
    score = record.info.scores.get(record.info.settings.headline, {}).get("mean_iou")
    return "done" if score is None else f"mean IoU {100 * score:.2f} %"
