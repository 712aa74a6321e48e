"""The training of a run: its stages, its steps, the checkpoint that it leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.data.open import check_training
from fsseg_bench.data.training import Extras, TrainingEpisodes
from fsseg_bench.engine.cache import default_budget
from fsseg_bench.engine.checkpoint import TrainingState, fill, load_state, save_state
from fsseg_bench.engine.device import backend_of, describe
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.kept_states import Keeping, keeping_words
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.request_checks import stage_files
from fsseg_bench.engine.run_device import default_workers, device_of
from fsseg_bench.engine.stage_given import given_stage
from fsseg_bench.engine.stage_run import StageWork, give, trained_stage
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.engine.training_data import TrainingData
from fsseg_bench.engine.validation import build_chooser
from fsseg_bench.engine.validation import facts as validation_facts
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.machine import stopping
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.paths import results_root
from fsseg_bench.progress import Progress
from fsseg_bench.records.read import RecordError
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.training import training_summary
from fsseg_bench.trackers.watch import Watch

_KEPT = 0.5  # of the memory for features: as much as decoded training images may take


def train(
    plan: Plan,
    record: RunRecord,
    device: torch.device,
    progress: Progress,
    cadence: Cadence | None,
    share: Share,
    watch: Watch,
) -> None:
    """Trains what is left to train of a run, or fills the model with what was trained.

    Raises:
        UserError: as :func:`fsseg_bench.engine.run.execute`.
        Stopped: likewise.
    """
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
    keeping = Keeping.of(plan, record.folder)
    for line in keeping_words(plan, keeping, done.iteration if done else 0):
        progress.say(line)
    if plan.checkpoint is not None:
        plan.checkpoint.fill(plan.model)
    elif done is not None and not trains:
        fill(plan.model, done.model, record.checkpoint)
    elif trains:
        if done is None and record.train_path.exists():
            progress.say(f"{record.folder}: there is no {record.checkpoint.name}, so the training begins again")
        if plan.weights.source == "none" and recipe.freeze != "none" and not plan.stages:
            progress.say(f"recipe.freeze={recipe.freeze} holds random numbers: the weights are none")
        trainer = trainer_of(plan, device, cadence or Cadence(request.checkpoint_every), share)
        trainer.watch, trainer.keeping = watch.row, keeping
        if done is None and not request.no_check and plan.training and not plan.training.protocol.synthetic:
            check_training(plan.training.source, trainer.episodes.shown)
        record.update(status="training", device=describe(device))
        processes().first(True)
        if plan.stages:
            stages = _stages(plan, record, device, progress, cadence, share) if done is None else []
            give_all(plan, processes().first(stages))
        begin = time.perf_counter()
        try:
            timings = trainer.run(record, progress)
        except stopping.Stopped:
            record.update(timings=record.info.timings.added(train_seconds=time.perf_counter() - begin))
            raise
        record.update(timings={**timings, **record.info.timings.added(train_seconds=timings["train_seconds"])})
        if plan.validation and trainer.chooser:
            record.update(validation=validation_facts(plan.validation, trainer.chooser.scores))
    if not trains:
        processes().first(False)
        if plan.validation and done is not None:  # its last process may have ended before it could say so
            record.update(validation=validation_facts(plan.validation, dict(done.choice.get("scores", ()))))
        if plan.stages and done is None:
            record.update(status="training", device=describe(device))
            give_all(plan, _stages(plan, record, device, progress, cadence, share))
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
        Stopped: as :func:`fsseg_bench.engine.run.execute`.
    """
    stages = {one.stage.name: one for one in plan.to_train}
    if name in stage_files(plan.request):
        raise UserError(f"--stage {name}: stage.{name}.file gives a network in its place, so that nothing is trained")
    if name not in stages and name in _stage_names(plan):
        raise UserError(f"--stage {name}: stage.{name}.iterations=0 leaves it out, so that nothing is trained")
    if name not in stages:
        raise unknown(f"stage of {plan.request.method}", name, stages)
    device, told = device_of(plan)
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


def give_all(plan: Plan, states: Sequence[dict[str, Tensor]]) -> None:
    """Fills the parts of the plan's model that have the names of the stages' parameters."""
    for state in states:
        give(plan.model, state)


def _keep(plan: Plan, record: RunRecord) -> None:
    """The checkpoint of a run that trains nothing but its stages: later commands need nothing but its folder."""
    nothing: dict[str, Any] = {"state": {}, "param_groups": []}
    model, rng = plan.model.state_dict(), torch.get_rng_state()
    save_state(record.checkpoint, TrainingState(0, model, nothing, rng, run=record.identity))


def trainer_of(plan: Plan, device: torch.device, cadence: Cadence, share: Share = ALONE) -> Trainer:
    """What makes the steps of the plan's training, with the other processes that torchrun started."""
    request, together = plan.request, processes()
    beside = replace(share, machine=share.machine * together.local_size)
    workers = default_workers(request, device, beside) if backend_of(device).is_gpu else (request.workers or 0)
    # features come later, into the same memory
    budget = default_budget(torch.device("cpu"), request.cache_gib, share)
    host = budget.host
    return Trainer(
        plan.model,
        training_episodes(plan, int(host * _KEPT) // (max(workers, 1) * together.local_size)),
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


def training_episodes(plan: Plan, keep: int = 0) -> TrainingEpisodes:
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
