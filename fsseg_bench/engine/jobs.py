"""The runs of one command, one after the other, with what is left of each told beforehand."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from fsseg_bench.engine.batch import Batch, Planned
from fsseg_bench.engine.plan import OpenSources
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.progress import Job, Progress
from fsseg_bench.records.info import EPISODES_FILE, RUN_FILE, TRAIN_FILE, read_info, run_folder
from fsseg_bench.records.run import RunRecord


def run_all(batch: Batch, opened: OpenSources, progress: Progress | None = None) -> list[Path]:
    """Makes every run of ``batch`` that is not done; the folders of all.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run.execute`, from the first run that fails.
    """
    progress = progress or Progress()
    jobs = [job_of(planned) for planned in batch.runs]
    progress.jobs(jobs)
    folders = []
    for number, planned in enumerate(batch.runs):
        with progress.job(number):
            begin = time.monotonic()
            record = execute(planned.plan(opened), progress)
            if any(jobs[number].steps.values()):
                progress.say(f"{jobs[number].title}: {_result(record)}, {time.monotonic() - begin:,.0f} s")
        folders.append(record.folder)
    return folders


def job_of(planned: Planned) -> Job:
    """What is left of a run, by its record."""
    settings, request = planned.settings, planned.request
    folder = run_folder(results_root(request.out), settings)
    steps = {"train": settings.iterations or 0, "evaluate": planned.episodes}
    if not request.fresh and (folder / RUN_FILE).is_file():
        with suppress(UserError):  # the run itself says what is wrong with its record
            done = read_info(folder / RUN_FILE).status == "done"
            logs = {"train": TRAIN_FILE, "evaluate": EPISODES_FILE}
            steps = {name: 0 if done else max(left - _lines(folder / logs[name]), 0) for name, left in steps.items()}
    return Job(
        title=f"{request.method} fold {request.fold}",
        kind=f"{settings.method} {settings.backbone} {settings.way}-way {settings.shot}-shot {settings.protocol_label}",
        steps={name: left for name, left in steps.items() if left},
    )


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _result(record: RunRecord) -> str:
    score = record.info.scores.get(record.info.settings.headline, {}).get("mean_iou")
    return "done" if score is None else f"mean IoU {100 * score:.2f} %"
