"""One run from its plan to its record: train, evaluate, score, picture."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.kept_states import Keeping, keeping_words
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.run_device import device_of
from fsseg_bench.engine.run_evaluation import evaluate
from fsseg_bench.engine.run_training import give_all, train, trainer_of
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import BugError, UserError, bug_words, explain, later
from fsseg_bench.machine import stopping
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.paths import results_root
from fsseg_bench.progress import Progress
from fsseg_bench.records.read import RecordError, read_run, runs_with_other_content
from fsseg_bench.records.run import RunRecord
from fsseg_bench.storage.json_text import plain
from fsseg_bench.trackers.contract import TrackedRun
from fsseg_bench.trackers.watch import Watch


def execute(
    plan: Plan, progress: Progress | None = None, cadence: Cadence | None = None, share: Share = ALONE
) -> RunRecord:
    """Does what is left to do of a run; a finished run is returned as it is. Results do not depend on the ``share``.

    Raises:
        UserError: the folder holds another run, no such device, the loss diverged, a file is damaged, a full disk.
            What was recorded before stays, and the same command goes on from there.
        Stopped: the process was told to end, and has written what it did.
    """
    progress = progress or Progress()
    request = plan.request
    device, told = device_of(plan)
    with RunRecord.create(
        results_root(request.out),
        plan.settings,
        request,
        folds=len(plan.protocol.folds),
        threads=torch.get_num_threads(),
        processes=processes().size,
        device=backend_of(device).model(device),
    ) as record:
        if record.status != "done":
            record.keep_table(plan.table)
            record.keep_evaluated(plan.evaluated.text())
        else:
            _check_finished(record.folder)
        for line in [*told, *_notes(record, device), *_unkept(plan, record)]:
            progress.say(line)
        if record.status == "done":
            _name_training(plan, record)
            processes().first(False)
            return record
        said = {"remarks": plan.remarks} if plan.remarks else {}
        trained = {"trained": plan.trained.to_json()} if plan.trained else {}
        record.update(weights=plan.weights.as_dict(), seen=vars(plan.seen), **said, **trained)
        watch = Watch(request.track, _tracked(plan, record), progress.say)
        try:
            train(plan, record, device, progress, cadence, share, watch)
            watch.finish(evaluate(plan, record, device, progress, share), "done")
        except KeyboardInterrupt:
            watch.finish({}, "stopped")
            raise
        except (Exception, SystemExit) as error:
            watch.finish({}, "failed")
            _end_if_told(error)
            reason = explain(error) or f"a bug: {bug_words(error)}"
            with suppress(UserError):  # where the record cannot be written either, the first error is the one to tell
                record.update(status="failed", reason=reason)
            if isinstance(error, SystemExit):  # of a method: the run is not done, whatever its code says
                raise BugError(bug_words(error)) from error
            raise
    return record


def _tracked(plan: Plan, record: RunRecord) -> TrackedRun:
    s = plan.settings
    title = f"{s.protocol_label} fold {s.fold}, {s.method}, {s.backbone}, {s.way}-way {s.shot}-shot, seed {s.seed}"
    return TrackedRun(title, record.identity, record.folder, plain(s.to_json()))


def assist(plan: Plan) -> None:
    """What all but the first of torchrun's processes do of a run: they train with it, if it trains.

    Raises:
        UserError: as :func:`execute`.
        Stopped: as :func:`execute`.
    """
    device, _ = device_of(plan)
    try:
        with stopping.undeferred():
            trains = processes().first(False)
            stages = processes().first(None) if trains and plan.stages else None
        if trains:
            give_all(plan, stages or [])
            trainer_of(plan, device, Cadence()).assist()
    except Exception as error:
        _end_if_told(error)
        raise


def _end_if_told(error: BaseException) -> None:
    """Takes an error for what it is where signals went to all processes: another one has ended already.

    Raises:
        Stopped: this process was told to end, too.
    """
    if stopping.asked() and later(error):
        raise stopping.stop() from error


def _check_finished(folder: Path) -> None:
    """Refuses to call a run finished whose counts a report would skip."""
    try:
        read_run(folder).counts()
    except RecordError as error:
        raise UserError(f"{error}. Nothing was changed. --fresh moves that folder aside and starts anew") from None


def _notes(record: RunRecord, device: torch.device) -> list[str]:
    """What the user should know before the run goes on."""
    lines = [f"{record.folder}: already finished"] if record.status == "done" else []
    if record.status == "new":
        lines += runs_with_other_content(record)
    began, now = record.info.provenance.threads, torch.get_num_threads()
    if not backend_of(device).is_gpu and record.status != "new" and began not in {None, now}:
        lines.append(
            f"{record.folder}: begun with {began} threads on the CPU, this process has {now}: sums are rounded "
            "otherwise, so that a few pixels of some episodes would be counted differently (OMP_NUM_THREADS sets it)"
        )
    return lines


def _unkept(plan: Plan, record: RunRecord) -> list[str]:
    """Which states a finished run has not kept; of another one, its training says so."""
    if record.status != "done":
        return []
    return keeping_words(plan, Keeping.of(plan, record.folder), plan.recipe.iterations)


def _name_training(plan: Plan, record: RunRecord) -> None:
    """Adds the training of a checkpoint that was evaluated earlier as a file of unknown training."""
    known = record.info.trained
    if plan.trained and plan.trained.identity and not (known and known.identity):
        record.update(trained=plan.trained.to_json())
