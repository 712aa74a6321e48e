"""The runs of one command, with what is left of each told beforehand."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from fsseg_bench.engine.batch import Batch, Planned
from fsseg_bench.engine.device import backend_of, resolve_device
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.run import assist, execute
from fsseg_bench.engine.run_training import train_stage
from fsseg_bench.engine.side_by_side import RunTask, make_side_by_side
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.machine.share import share_here
from fsseg_bench.progress import Job, Progress
from fsseg_bench.records.words import result_words


def run_all(batch: Batch, opened: OpenSources, progress: Progress | None = None) -> list[Path]:
    """Makes every run of ``batch`` that is not done, in its slots; the folders of all.

    In one slot they are made here, one after the other, and the first that fails is the last.

    Of several processes that torchrun started the first does; the others train with it, and have no folders.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run.execute`; of several slots after the runs that could be made.
        RunFailedError: in several slots, a run failed by a bug.
    """
    if processes().rank:
        for planned in batch.runs:
            assist(planned.plan(opened))
        return []
    progress = progress or Progress()
    jobs = jobs_of(batch)
    if batch.slots.count > 1:
        for device in {torch.device("cpu"), resolve_device(batch.runs[0].request.device)}:
            backend_of(device).release_memory(device)  # what planning and measuring left: other processes need it now
        tasks = [RunTask(run.request, batch.slots.share, done=run.left.status == "done") for run in batch.runs]
        return make_side_by_side(tasks, jobs, batch.slots, progress)
    progress.jobs(jobs)
    folders = []
    for number, planned in enumerate(batch.runs):
        with progress.job(number) as inside:
            begin = time.monotonic()
            todo = planned.left.status != "done"
            # of a finished run there is no news
            record = execute(planned.plan(opened), inside if todo else None, share=share_here())
            if todo:
                progress.say(f"{jobs[number].title}: {result_words(record.info)}, {time.monotonic() - begin:,.0f} s")
        folders.append(record.folder)
    return folders


def train_stages(batch: Batch, opened: OpenSources, name: str, progress: Progress | None = None) -> list[Path]:
    """Trains the stage ``name`` of every run of ``batch``, and nothing else; the folders, each once.

    One process trains a stage: others that torchrun started have nothing to do.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run_training.train_stage`.
    """
    if processes().rank:
        return []
    folders = [train_stage(planned.plan(opened), name, progress, share_here()) for planned in batch.runs]
    return list(dict.fromkeys(folders))


def jobs_of(batch: Batch) -> list[Job]:
    """The runs as jobs; where there are several training seeds, titles have them."""
    seeds = len({planned.request.seed for planned in batch.runs}) > 1
    return [job_of(planned, seeds=seeds) for planned in batch.runs]


def job_of(planned: Planned, *, seeds: bool = False) -> Job:
    """A run as a job; with ``seeds`` its title has the training seed."""
    request = planned.request
    title = f"{request.method} fold {request.fold}" + (f" seed {request.seed}" if seeds else "")
    return Job(title, planned.kind, planned.left.steps, planned.speeds)
