"""One run from its plan to its record: train, evaluate, score, picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsseg_bench.data.open import check_training
from fsseg_bench.data.training import Extras, TrainingEpisodes
from fsseg_bench.engine.cache import GIB, Budget, FeatureCache, default_budget
from fsseg_bench.engine.checkpoint import TrainingState, fill, load_state, save_state
from fsseg_bench.engine.device import backend_of, check_arithmetic, describe, resolve_device, use_threads
from fsseg_bench.engine.distributed import check_batch, processes
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.left import left_of, threads_words
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.panels import draw_panels
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.request_checks import stage_files
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.stage_given import given_stage
from fsseg_bench.engine.stage_run import StageWork, give, trained_stage
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.engine.training_data import TrainingData
from fsseg_bench.engine.validation import build_chooser
from fsseg_bench.engine.validation import facts as validation_facts
from fsseg_bench.errors import BugError, UserError, bug_words, explain, later, unknown
from fsseg_bench.machine import stopping
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.paths import results_root
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.scoring import binary_iou, boundary_iou, mean_iou
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.counts import row_inspector
from fsseg_bench.records.info import Timings
from fsseg_bench.records.lines import Inspect
from fsseg_bench.records.predictions import EpisodeLogs, prediction_inspector, prediction_row
from fsseg_bench.records.read import RecordError, read_run, runs_with_other_content
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.training import training_summary
from fsseg_bench.storage.json_text import plain
from fsseg_bench.trackers.contract import TrackedRun
from fsseg_bench.trackers.watch import Watch

_MOST_WORKERS = 8
_KEPT = 0.5  # of the memory for features: as much as decoded training images may take


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
    device, told = _device(plan)
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
        for line in [*told, *_notes(record, device)]:
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
            _train(plan, record, device, progress, cadence, share, watch)
            watch.finish(_evaluate(plan, record, device, progress, share), "done")
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
    device, _ = _device(plan)
    try:
        with stopping.undeferred():
            trains = processes().first(False)
            stages = processes().first(None) if trains and plan.stages else None
        if trains:
            _give(plan, stages or [])
            _trainer(plan, device, Cadence()).assist()
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


def _device(plan: Plan) -> tuple[torch.device, list[str]]:
    """Where this process computes, made ready for it; and what to say of that."""
    request = plan.request
    device = processes().device(resolve_device(request.device))
    check_arithmetic(device, request)
    check_batch(plan.recipe)
    left = left_of(plan.settings, request, len(plan.table))
    told = [words] if request.threads is None and (words := threads_words(left)) else []
    use_threads(request.threads or left.threads)
    keep_memory()
    return device, told


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


def _name_training(plan: Plan, record: RunRecord) -> None:
    """Adds the training of a checkpoint that was evaluated earlier as a file of unknown training."""
    known = record.info.trained
    if plan.trained and plan.trained.identity and not (known and known.identity):
        record.update(trained=plan.trained.to_json())


def default_workers(request: RunRequest, device: torch.device, share: Share = ALONE) -> int:
    """Loader workers: as asked, else one for each core that the run may keep busy beside computing, at most eight.

    On a CPU those are the cores that no thread computes on, by default none: decoding ahead there would stop one of the
    threads, and the others wait for it.
    """
    if request.workers is not None:
        return request.workers
    computing = 0 if backend_of(device).is_gpu else torch.get_num_threads()
    return min(max(share.cores - computing, 0), _MOST_WORKERS)


def _train(
    plan: Plan,
    record: RunRecord,
    device: torch.device,
    progress: Progress,
    cadence: Cadence | None,
    share: Share,
    watch: Watch,
) -> None:
    request, recipe = plan.request, plan.recipe
    identity = record.info.identity
    has_checkpoint = plan.settings.has_checkpoint and plan.checkpoint is None
    done = load_state(record.checkpoint, identity) if has_checkpoint and record.checkpoint.exists() else None
    if done is not None and done.iteration > recipe.iterations:
        raise UserError(
            f"{record.checkpoint}: its 'iteration' is {done.iteration}, beyond the recipe's {recipe.iterations}; "
            "remove it, or start again with --fresh"
        )
    trains = (
        plan.checkpoint is None and bool(recipe.iterations) and (done is None or done.iteration < recipe.iterations)
    )
    if plan.checkpoint is not None:
        plan.checkpoint.fill(plan.model)
    elif done is not None and not trains:
        fill(plan.model, done.model, record.checkpoint)
    elif trains:
        if done is None and record.train_path.exists():
            progress.say(f"{record.folder}: there is no {record.checkpoint.name}, so the training begins again")
        if plan.weights.source == "none" and recipe.freeze != "none" and not plan.stages:
            progress.say(f"recipe.freeze={recipe.freeze} holds random numbers: the weights are none")
        trainer = _trainer(plan, device, cadence or Cadence(request.checkpoint_every), share)
        trainer.watch = watch.row
        if done is None and not request.no_check and plan.training and not plan.training.protocol.synthetic:
            check_training(plan.training.source, trainer.episodes.shown)
        record.update(status="training", device=describe(device))
        processes().first(True)
        if plan.stages:
            stages = _stages(plan, record, device, progress, cadence, share) if done is None else []
            _give(plan, processes().first(stages))
        begin = time.perf_counter()
        try:
            timings = trainer.run(record, progress)
        except stopping.Stopped:
            record.update(timings=_added(record.info.timings, train_seconds=time.perf_counter() - begin))
            raise
        record.update(timings={**timings, **_added(record.info.timings, train_seconds=timings["train_seconds"])})
        if plan.validation and trainer.chooser:
            record.update(validation=validation_facts(plan.validation, trainer.chooser.scores))
    if not trains:
        processes().first(False)
        if plan.validation and done is not None:  # its last process may have ended before it could say so
            record.update(validation=validation_facts(plan.validation, dict(done.choice.get("scores", ()))))
        if plan.stages and done is None:
            record.update(status="training", device=describe(device))
            _give(plan, _stages(plan, record, device, progress, cadence, share))
            _keep(plan, record)
    if recipe.iterations:
        _summarise_training(record, progress)


def _stages(
    plan: Plan, record: RunRecord, device: torch.device, progress: Progress, cadence: Cadence | None, share: Share
) -> list[dict[str, Tensor]]:
    """The parameters of the networks that come before the method; this process alone trains those that are not yet."""
    work = _stage_work(plan, device, cadence, share)
    found = {
        one.stage.name: given_stage(one.key.identity, one.given) if one.given else trained_stage(one, work, progress)
        for one in plan.stages
    }
    record.update(stages={name: one.facts for name, one in found.items()})
    return [one.state for one in found.values()]


def train_stage(plan: Plan, name: str, progress: Progress | None = None, share: Share = ALONE) -> Path:
    """Trains one stage of a plan and nothing else, unless it is trained; its folder.

    Raises:
        UserError: the method has no such stage; or as :func:`fsseg_bench.engine.stage_run.trained_stage`.
        Stopped: as :func:`execute`.
    """
    stages = {one.stage.name: one for one in plan.to_train}
    if name in stage_files(plan.request):
        raise UserError(f"--stage {name}: stage.{name}.file gives a network in its place, so that nothing is trained")
    if name not in stages and name in _stage_names(plan):
        raise UserError(f"--stage {name}: stage.{name}.iterations=0 leaves it out, so that nothing is trained")
    if name not in stages:
        raise unknown(f"stage of {plan.request.method}", name, stages)
    device, told = _device(plan)
    progress = progress or Progress()
    for line in told:
        progress.say(line)
    trained_stage(stages[name], _stage_work(plan, device, None, share), progress)
    return stages[name].key.folder(results_root(plan.request.out))


def _stage_work(plan: Plan, device: torch.device, cadence: Cadence | None, share: Share) -> StageWork:
    request = plan.request
    workers = default_workers(request, device, share) if backend_of(device).is_gpu else (request.workers or 0)
    host = default_budget(torch.device("cpu"), request.cache_gib, share).host
    return StageWork(
        plan.model,
        _trained_on(plan),
        request,
        results_root(request.out),
        device,
        cadence or Cadence(request.checkpoint_every),
        workers,
        keep=int(host * _KEPT) // max(workers, 1),
    )


def _give(plan: Plan, states: Sequence[dict[str, Tensor]]) -> None:
    for state in states:
        give(plan.model, state)


def _keep(plan: Plan, record: RunRecord) -> None:
    """The checkpoint of a run that trains nothing but its stages: later commands need nothing but its folder."""
    nothing: dict[str, Any] = {"state": {}, "param_groups": []}
    model, rng = plan.model.state_dict(), torch.get_rng_state()
    save_state(record.checkpoint, TrainingState(0, model, nothing, rng, run=record.identity))


def _trainer(plan: Plan, device: torch.device, cadence: Cadence, share: Share = ALONE) -> Trainer:
    request, together = plan.request, processes()
    beside = replace(share, machine=share.machine * together.local_size)
    workers = default_workers(request, device, beside) if backend_of(device).is_gpu else (request.workers or 0)
    # features come later, into the same memory
    budget = default_budget(torch.device("cpu"), request.cache_gib, share)
    host = budget.host
    return Trainer(
        plan.model,
        _training_episodes(plan, int(host * _KEPT) // (max(workers, 1) * together.local_size)),
        plan.recipe,
        seed=request.seed,
        device=device,
        precision=request.precision,
        deterministic=not request.nondeterministic,
        workers=workers,
        cadence=cadence,
        processes=together,
        chooser=build_chooser(plan.validation, request, device, budget) if plan.validation else None,
    )


def _summarise_training(record: RunRecord, progress: Progress) -> None:
    """Puts the last losses into run.json; a log damaged after its training leaves the checkpoint as good as it was."""
    try:
        if summary := training_summary(record.training_rows()):
            record.update(training=summary.to_json())
    except RecordError as error:
        progress.say(f"{error}: the summary of its losses in run.json is not renewed")


def _training_episodes(plan: Plan, keep: int = 0) -> TrainingEpisodes:
    """The plan's stream; each process that loads it may keep ``keep`` bytes of decoded images."""
    request, recipe, data = plan.request, plan.recipe, _trained_on(plan)
    return TrainingEpisodes(
        data.source,
        data.protocol,
        data.index.train_pairs(data.fold),
        data.fold,
        request.train_way,
        recipe.train_shots or request.shot,
        recipe.augment,
        request.seed,
        recipe.iterations * recipe.batch,
        Extras(plan.cls.reads_class_labels, plan.model.unlabelled_images),
        data.index.copies,
        keep,
    )


def _trained_on(plan: Plan) -> TrainingData:
    if plan.training is None:
        raise RuntimeError("a plan that trains has training data")
    return plan.training


def _stage_names(plan: Plan) -> set[str]:
    """Of all stages that the method may have."""
    rules = plan.protocol.training(plan.request.fold)
    return {one.name for one in plan.cls.stages_before(rules.protocol, plan.request.shot)}


def _evaluate(
    plan: Plan, record: RunRecord, device: torch.device, progress: Progress, share: Share
) -> dict[str, dict[str, float]]:
    """Counts what is not counted yet; the scores in [0, 1] by resolution and metric."""
    request = plan.request
    record.update(status="evaluating", device=describe(device))
    model = InferenceModel.of(request, plan.model.to(device), device)
    backend_of(device).release_memory(device)  # what the training left, before free memory is measured
    budget = default_budget(device, request.cache_gib, share)
    evaluator = build_evaluator(plan, model, budget, record.info.timings.head_batch, share)
    ways, size = plan.table.ways, plan.protocol.image.size
    with EpisodeLogs(record, _inspector(plan), prediction_inspector(ways, size)) as logs:
        for damage in logs.damage:
            told = f"{damage}; evaluated again from episode {logs.rows}"
            progress.say(f"{record.folder}: {told}")
            record.note(told)

        def sink(result: EpisodeResult) -> None:
            if backend_of(device).is_gpu and evaluator.head_batch != record.info.timings.head_batch:
                record.update(timings={"head_batch": evaluator.head_batch})  # with which a stopped run goes on
            logs.append(result.row(), prediction_row(result.episode, result.prediction.numpy(), ways))

        try:
            with stopping.deferred():
                evaluator.run(sink, start=logs.rows, progress=progress)
        except stopping.Stopped:
            record.update(timings=_added(record.info.timings, **evaluator.timings))
            raise
    rows = record.rows()
    scores = _scores(rows, plan.settings.novel, plan.settings.runs or 1)
    record.update(
        diagnostics=_mean_diagnostics(rows),
        scores=scores,
        timings={
            **_added(record.info.timings, **evaluator.timings),
            "cache_gib": {"device": budget.device / GIB, "host": budget.host / GIB},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    if request.panels:
        draw_panels(plan, rows, record.predictions(), record.folder / "panels", request.panels)
    record.update(status="done", reason=None)
    return scores


def _inspector(plan: Plan) -> Inspect:
    """What makes a row of the episode log one of this run."""
    size, source, table = plan.protocol.image.size, plan.source, plan.table

    def pixels(i: int) -> dict[str, int]:
        width, height = source.image_size(table.queries[i])
        return {"input": size * size, "native": width * height}

    return row_inspector(table.ways, plan.protocol.novel_classes(plan.request.fold), table, pixels)


def _added(stored: Timings, **spent: float) -> dict[str, float]:
    """Timings of this session on top of those of earlier ones."""
    return {name: getattr(stored, name) + value for name, value in spent.items()}


def build_evaluator(
    plan: Plan, model: InferenceModel, budget: Budget, head_batch: int | None = None, share: Share = ALONE
) -> Evaluator:
    """The evaluator of ``model`` on the plan's episodes, as the request wants it; features within ``budget``.

    ``head_batch`` is what the run has used so far on a GPU, where it is known: the same batches round alike.
    """
    setting = setting_of(plan.request, plan.protocol, model.device, share)
    if head_batch and backend_of(model.device).is_gpu:
        setting = replace(setting, head_batch=min(head_batch, setting.head_batch or head_batch))
    return Evaluator(model, plan.source, plan.table, setting, FeatureCache(model.device, budget), plan.further)


def setting_of(request: RunRequest, protocol: Protocol, device: torch.device, share: Share = ALONE) -> Setting:
    """How the request wants episodes to be turned into counts."""
    return Setting(
        size=protocol.image.side,
        kept_as=request.cache_dtype,
        boundary=protocol.scoring.boundary,
        scales=request.scales,
        head_batch=request.head_batch or (None if backend_of(device).is_gpu else 1),
        workers=default_workers(request, device, share),
    )


def _scores(rows: Sequence[dict[str, Any]], novel: Sequence[int], runs: int) -> dict[str, dict[str, float]]:
    """Both metrics at both resolutions, in [0, 1]: for people; tables compute them from the counts again."""
    classes = np.asarray([row["classes"] for row in rows])
    side = classes.shape[1] + 1
    scores = {}
    for resolution in ("input", "native"):
        counts = np.asarray([row[resolution] for row in rows], dtype=np.int64).reshape(-1, side, side)
        scores[resolution] = {
            "mean_iou": mean_iou(counts, classes, novel, runs),
            "binary_iou": binary_iou(counts, runs),
        }
        if f"{resolution}_boundary" in rows[0]:
            bands = np.asarray([row[f"{resolution}_boundary"] for row in rows], dtype=np.int64)
            scores[resolution]["boundary_iou"] = boundary_iou(bands.reshape(*classes.shape, 3), classes, novel, runs)
    return scores


def _mean_diagnostics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each diagnostic's mean over the episodes (a number or a list), rounded to six digits."""
    names = {name for row in rows for name in row.get("diagnostics", {})}
    means: dict[str, Any] = {}
    for name in sorted(names):
        values = np.asarray([row["diagnostics"][name] for row in rows], dtype=np.float64)
        means[name] = np.round(values.mean(axis=0), 6).tolist()
    return means
