"""Trains what comes before a method, or takes it from an earlier training, whichever method or shot that was for."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fsseg_bench.data.base_images import BaseImages
from fsseg_bench.data.open import check_training as check_images
from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.checks import ContractError
from fsseg_bench.engine.optimise import check_training
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.errors import TrainingError, UserError
from fsseg_bench.method import Method, StageNetwork
from fsseg_bench.records.info import CHECKPOINT_FILE
from fsseg_bench.records.stage import StageRecord, is_trained, read_stage
from fsseg_bench.records.training import training_summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsseg_bench.engine.stage_plan import PlannedStage
    from fsseg_bench.engine.training_data import TrainingData
    from fsseg_bench.method import Stage
    from fsseg_bench.progress import Progress
    from fsseg_bench.protocol.training import TrainingRules
    from fsseg_bench.records.request import RunRequest


@dataclass(frozen=True)
class StageWork:
    """What all stages of one run have in common."""

    method: Method
    """Which gets the networks' parameters."""
    training: TrainingData
    request: RunRequest
    root: Path
    """Of the records."""
    device: torch.device
    cadence: Cadence
    workers: int
    keep: int
    """Bytes of decoded images and masks that each loading process may keep."""


@dataclass(frozen=True)
class TrainedStage:
    """The network of a stage."""

    state: dict[str, Tensor]
    """Its parameters, on the host."""
    facts: dict[str, Any]
    """What the record of the run says of it."""


def trained_stage(planned: PlannedStage, work: StageWork, progress: Progress) -> TrainedStage:
    """The network of a stage: from its folder if it is trained, else trained here, from where an earlier process came.

    Waits while another process trains it.

    Raises:
        ContractError: the method has no parts that take the network's parameters.
        UserError: the loss is not finite, a file is missing or damaged, a full disk.
        Stopped: the process was told to end, and has written what it did.
    """
    stage, key = planned.stage, planned.key
    network = built_network(stage, planned.backbone, planned.weights, work.request, work.training.rules)
    check_parts(work.method, network, stage.name)
    folder = key.folder(work.root)
    with _named(stage.name):
        found = read_stage(folder, key)
        when = "earlier"
        if not is_trained(found, folder):
            with StageRecord.open(work.root, key, progress.say) as record:
                if not is_trained(record.document, folder):  # another process may have trained it since
                    progress.say(f"stage {stage.name}: training in {folder}")
                    _train(planned, network, work, record, progress)
                    when = "here"
                found = record.document
        if when == "earlier":
            progress.say(f"stage {stage.name}: trained already, in {folder}")
        return TrainedStage(_state(planned, folder), _facts(planned, found, folder, when))


def give(method: Method, state: dict[str, Tensor]) -> None:
    """Fills the parts of ``method`` that have the names of a network's parameters."""
    method.load_state_dict(state, strict=False)


def check_parts(method: Method, network: StageNetwork, name: str) -> None:
    """Whether each parameter of a stage's network has its place in the method.

    Raises:
        ContractError: it has not; names the first ones.
    """
    own = method.state_dict()
    theirs = network.state_dict()
    wrong = sorted(key for key, value in theirs.items() if key not in own or own[key].shape != value.shape)
    if wrong:
        raise ContractError(
            f"{type(method).__name__}: stage {name} trains {len(wrong)} parameters that the method has not, or of "
            f"another shape ({', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}); its parts must have the names "
            f"of {type(network).__name__}'s"
        )


def built_network(stage: Stage, backbone: str, weights: str, request: RunRequest, rules: TrainingRules) -> StageNetwork:
    """The network of a stage on a backbone, not trained.

    Raises:
        ContractError: it is no :class:`StageNetwork`.
        UserError: backbone or weights are unknown or not here.
    """
    classes = len(rules.base)
    network, _ = assemble(stage.network, backbone, weights, {}, request.seed, classes, request.backbones_path)
    if not isinstance(network, StageNetwork):
        raise ContractError(f"stage {stage.name}: {type(network).__name__} is no StageNetwork")
    return network


def _train(
    planned: PlannedStage, network: StageNetwork, work: StageWork, record: StageRecord, progress: Progress
) -> None:
    request, recipe = work.request, planned.stage.recipe
    check_training(network, recipe)
    images = planned.chosen.images
    stream = BaseImages(
        work.training.source,
        work.training.protocol,
        images,
        work.training.fold,
        recipe.augment,
        request.seed,
        recipe.iterations * recipe.batch,
        work.keep,
    )
    begun = record.checkpoint.exists()
    if not begun and not request.no_check and not work.training.protocol.synthetic:
        check_images(work.training.source, stream.shown)
    trainer = Trainer(
        network,
        stream,
        recipe,
        seed=request.seed,
        device=work.device,
        precision=request.precision,
        workers=work.workers,
        cadence=work.cadence,
        deterministic=not request.nondeterministic,
        title=planned.title,
    )
    record.update(status="training", images={"trained_on": len(images), "left_out": planned.chosen.left_out})
    begin = time.perf_counter()
    try:
        trainer.run(record, progress)
    finally:
        spent = record.document["timings"]["train_seconds"] + time.perf_counter() - begin
        record.update(timings={"train_seconds": spent})
    summary = training_summary(record.training_rows())
    record.update(status="done", training=summary.to_json() if summary else None)


def _state(planned: PlannedStage, folder: Path) -> dict[str, Tensor]:
    file = folder / CHECKPOINT_FILE
    state = load_state(file, planned.key.identity)
    if state.iteration != planned.stage.recipe.iterations:
        raise UserError(
            f"{file}: its 'iteration' is {state.iteration} of {planned.stage.recipe.iterations}, though the training "
            f"is done; move {folder} elsewhere, and the network is trained anew"
        )
    return state.model


def _facts(planned: PlannedStage, document: dict[str, Any], folder: Path, when: str) -> dict[str, Any]:
    return {
        "identity": planned.key.identity,
        "folder": str(folder),
        "trained": when,
        "images": document.get("images"),
        "training": document.get("training"),
        "timings": document.get("timings"),
    }


@contextmanager
def _named(stage: str) -> Iterator[None]:
    """What goes wrong is told with the stage's name, and advice with its settings."""
    try:
        yield
    except UserError as error:
        error.place = f"stage {stage}"
        if isinstance(error, TrainingError):
            error.recipe = f"stage.{stage}"
            error.anew = "move its folder elsewhere (--fresh leaves stages alone)"
        raise
