"""A recorded run made again: what it depends on is compared with the record, then its counts are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fsseg_bench.engine.device import describe, resolve_device, use_threads
from fsseg_bench.engine.open_run import RunPlaces, request_of
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.same_counts import same_counts
from fsseg_bench.engine.verify import Verdict, verify
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.records.command import stated_paths
from fsseg_bench.records.info import CHECKPOINT_FILE, RUN_FILE, RecordError, run_folder
from fsseg_bench.records.provenance import other_software, provenance
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import CONTENT, OF_TRAINING, differences

_SAID = ("protocol_digest", "data_fingerprint", "episode_digest", "evaluated_digest", "unlabelled_digest")


@dataclass(frozen=True)
class Repetition:
    """A run that is to be made again."""

    run: StoredRun
    """The record."""
    plan: Plan
    checks: tuple[Verdict, ...]
    """What the run depends on, then and now."""
    notes: tuple[str, ...]
    """What is other now and may move numbers, though the identity does not say so: versions, threads, device."""
    retrain: bool

    def run_again(self, progress: Progress | None = None) -> tuple[Path, list[Verdict]]:
        """Makes the run and compares it with the record: the new record's folder, and what was found.

        A repetition that was stopped goes on; one that is done is moved aside and made anew.

        Raises:
            UserError: as :func:`fsseg_bench.engine.run.execute`.
        """
        request, out = self.plan.request, Path(str(self.plan.request.out))
        # with other threads, sums would be rounded otherwise
        threads = request.threads if resolve_device(request.device).type != "cpu" else self.run.info.provenance.threads
        again = replace(request, fresh=_is_done(run_folder(out, self.plan.settings)), threads=threads)
        try:
            folder = execute(replace(self.plan, request=again), progress).folder
        finally:
            use_threads(None)
        return folder, same_counts(self.run, read_run(folder))


def repetition(
    folder: Path, out: Path, places: RunPlaces | None = None, *, retrain: bool = False, checkpoint: str | None = None
) -> Repetition:
    """Compares what a finished run depends on with what is here; nothing is written.

    A trained run is evaluated from its checkpoint, or with ``retrain`` trained again; a run without training is made
    again as it was.

    Args:
        folder: the record.
        out: the folder of records for the new one.
        places: what may be elsewhere now. What is not named is looked for where it was.
        retrain: whether to train again.
        checkpoint: what the run evaluated, where it has moved; for a run that evaluated a checkpoint alone.

    Raises:
        UserError: the record is not of a finished run or its counts cannot be used, what the run needs cannot be had,
            or ``out`` is where the record itself is.
    """
    run = read_run(folder)
    if run.status != "done":
        raise UserError(f"{folder}: the run is not done (status {run.status}); give its command again")
    run.counts()  # what cannot be compared in the end is refused before hours are spent
    request = _asked(run, places or RunPlaces(), checkpoint, retrain=retrain)
    try:
        plan = make_plan(replace(request, out=str(out), panels=0, track=()))
    except UserError as error:
        raise UserError(
            f"{folder}: cannot be made again: {error} (what has moved can be named with --dataset-file, --data-root, "
            "--weights and --checkpoint)"
        ) from error
    if run_folder(out, plan.settings).resolve() == folder.resolve():
        raise UserError(f"--out {out} is where the record itself lies; name another folder")
    checks = [_record(run), *_settings(run, plan, retrain=retrain or not run.info.settings.has_checkpoint)]
    return Repetition(run, plan, tuple(checks), tuple(_notes(run, plan)), retrain)


def _asked(run: StoredRun, places: RunPlaces, checkpoint: str | None, *, retrain: bool) -> RunRequest:
    """The request that makes the run again."""
    settings, command = run.info.settings, run.info.provenance.command
    if retrain and not settings.has_checkpoint:
        what = "evaluated a checkpoint; reproduce the run that trained it" if settings.checkpoint_digest else "has none"
        raise UserError(f"{run.folder}: --retrain repeats a training, and this run {what}")
    if checkpoint and not settings.checkpoint_digest:
        raise UserError(f"{run.folder}: --checkpoint is for runs that evaluated one; this run has its own")
    stated = stated_paths(command) if isinstance(command, str) else {}
    evaluated = stated.pop("eval_only", run.info.passed.eval_only)
    named = {key: value for key, value in vars(places).items() if value is not None}
    from_checkpoint = settings.has_checkpoint and not retrain
    unused = {"weights": "none"} if from_checkpoint else {}  # so that nobody looks for the file
    request = request_of(run, RunPlaces(**{**stated, **named, **unused}))
    request = replace(request, backbone=settings.backbone, eval_only=checkpoint or evaluated, fresh=False)
    if not from_checkpoint:
        return request
    if not (run.folder / CHECKPOINT_FILE).is_file():
        raise UserError(f"{run.folder}: there is no {CHECKPOINT_FILE}, so that only --retrain can make the run again")
    others = {key: value for key, value in request.settings.items() if not key.startswith(("recipe.", "stage."))}
    return replace(request, eval_only=str(run.folder), settings=others, iterations=None, weights=None, seed=0)


def recorded_device(run: StoredRun) -> str:
    """The device to use where none is named: the kind that the run had, where it is here."""
    return "cpu" if (run.info.device or "").startswith("cpu") else "auto"


def _record(run: StoredRun) -> Verdict:
    wrong = [f"{verdict.part}: {verdict.words}" for verdict in verify(run.folder) if not verdict.good]
    return Verdict(
        "record", not wrong, "; ".join(wrong) or f"as it was written ({RUN_FILE} and all files that it seals)"
    )


def _settings(run: StoredRun, plan: Plan, *, retrain: bool) -> Iterator[Verdict]:
    """Each thing that the identity is made of; without ``retrain`` those of the evaluation."""
    then, now = run.info.settings, plan.settings
    keys = [*_SAID, *(["weights_digest"] if retrain else []), "method_digest"]
    for key in keys:
        old, new = getattr(then, key), getattr(now, key)
        if old is None and new is None:
            continue
        words = str(new)[:8] if old == new else f"{str(old)[:8]} then, {str(new)[:8]} now" if old else "not noted then"
        if key == "method_digest" and old != new:
            words += _commits(run)
        yield Verdict(CONTENT[key], old is None or old == new, words)
    left_out = {*CONTENT, *(() if retrain else (*OF_TRAINING, "checkpoint_digest"))}
    changed = differences(then.without(*left_out), now.without(*left_out))
    yield Verdict("settings", not changed, f"then / now: {'; '.join(changed)}" if changed else "all others of the run")


def _commits(run: StoredRun) -> str:
    """Which versions of the source, where both are known."""
    states = (run.info.provenance.git, provenance()["git"])
    then, now = (str((git or {}).get("commit", "unknown"))[:10] for git in states)
    return f" (commit {then} then, {now} now)"


def _notes(run: StoredRun, plan: Plan) -> Iterator[str]:
    if changed := other_software(run.info.provenance):
        yield f"software, then / now: {'; '.join(changed)}"
    then, now = run.info.device, describe(resolve_device(plan.request.device))
    if then is not None and _kind(then) != _kind(now):
        yield f"device: {then} then, {now} now"


def _kind(device: str) -> str:
    """A recorded device without its number of threads, which is set as it was."""
    return "cpu" if device.startswith("cpu") else device


def _is_done(folder: Path) -> bool:
    try:
        return read_run(folder).status == "done"
    except RecordError:
        return False
