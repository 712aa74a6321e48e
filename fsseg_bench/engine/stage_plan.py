"""What is trained before a method, resolved: which images, by which recipe, and by what it is known again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.data.base_images import ChosenImages, chosen_images
from fsseg_bench.engine.checks import ContractError
from fsseg_bench.engine.code_digest import STAGE_ENTRY, method_digest
from fsseg_bench.engine.outline import Outline
from fsseg_bench.engine.released import Places, find_network
from fsseg_bench.engine.remembered import Remembered
from fsseg_bench.engine.request_checks import stage_files
from fsseg_bench.engine.training_data import TrainingData
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Stage
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.catalogue import backbone_module
from fsseg_bench.nn.released import Imported
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.paths import results_root
from fsseg_bench.plugins import portable_name
from fsseg_bench.records.info import CHECKPOINT_FILE, TRAIN_FILE
from fsseg_bench.records.lines import count_lines
from fsseg_bench.records.stage import StageKey, is_trained, read_stage
from fsseg_bench.storage.json_text import plain


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run."""

    stage: Stage
    key: StageKey
    chosen: ChosenImages
    """What it is trained on; nothing where it is given."""
    backbone: str
    weights: str
    """As ``--weights`` takes them."""
    given: Imported | None = None
    """The released network that is taken as it is, in place of a training."""

    @property
    def title(self) -> str:
        """What progress calls its training."""
        return title_of(self.stage)

    @property
    def shown(self) -> dict[str, Any]:
        """What a run's settings say of the training, whichever fold it is of."""
        found = self.key.settings
        if self.given:
            return {name: found[name] for name in ("network", "released")}
        return {name: found[name] for name in ("network", "images", "recipe", "code")}


def title_of(stage: Stage) -> str:
    """What progress and estimates call the training of a stage."""
    return f"stage {stage.name}"


def plan_stages(
    outlined: Outline,
    training: TrainingData,
    weights: WeightsInfo,
    trunk: Backbone,
    kept: Remembered,
) -> tuple[PlannedStage, ...]:
    """The stages of a run, which is ``outlined``; nothing is read or written.

    Raises:
        ContractError: a stage's network is laid out otherwise than its method.
        UserError: code cannot be read.
    """
    return tuple(_planned(stage, outlined, training, weights, trunk, kept) for stage in outlined.stages)


def _planned(
    stage: Stage,
    outlined: Outline,
    training: TrainingData,
    weights: WeightsInfo,
    trunk: Backbone,
    kept: Remembered,
) -> PlannedStage:
    request, network = outlined.request, stage.network
    protocol, fold, index, source = training.protocol, training.fold, training.index, type(training.source)
    where = f"{request.method}: stage {stage.name}"
    freeze, may = stage.recipe.freeze, ("none", *trunk.stages, "all")
    if freeze not in may:
        raise unknown(f"--set stage.{stage.name}.freeze", freeze, may)
    network_name = f"{portable_name(network.__module__)}.{network.__qualname__}"
    if network.layout != outlined.cls.layout:
        raise ContractError(f"{where}: {network.__name__}.layout is not the method's; both must be the same")
    if not stage.name.isidentifier():
        raise ContractError(f"{where}: its name must be one word, as a variable's")
    if file := stage_files(request).get(stage.name):
        given = kept.latest("network", (file, stage.name), lambda: _given(file, stage, outlined))
        base = len(training.rules.base)
        if given.origin.base_classes not in {None, base}:
            raise UserError(
                f"--set stage.{stage.name}.file={file}: a network of {given.origin.base_classes} base classes, and "
                f"{protocol.label} has {base} in fold {fold}; give the network of this data set"
            )
        known = {"network": network_name, "released": given.origin.what, "parameters": given.digest}
        nothing = ChosenImages((), 0)
        key = StageKey(stage.name, known)
        return PlannedStage(stage, key, nothing, outlined.backbone, outlined.weights, given)
    modules = (
        network.__module__,
        backbone_module(outlined.backbone, request.backbones_path),
        *sorted(stage.recipe.modules),
    )
    code = kept.get(
        "stage's code",
        (network, type(trunk), modules, source),
        lambda: method_digest((network, type(trunk)), modules, source, entry=STAGE_ENTRY),
    )
    chosen = kept.get("stage's images", (index, fold, stage.images), lambda: chosen_images(index, fold, stage.images))
    rules = protocol.settings()
    settings: dict[str, Any] = {
        "protocol": protocol.name,
        "image": rules["image"],
        "data": rules["data"],
        "classes": rules["classes"],
        "fold": fold,
        "base": training.rules.base,
        "novel": protocol.held_out(fold),
        "data_fingerprint": training.fingerprint,
        "images": stage.images,
        "network": network_name,
        "code": code,
        "backbone": outlined.backbone,
        "weights": Path(weights.source).name,
        "weights_digest": weights.digest,
        "recipe": stage.recipe.settings(),
        "seed": request.seed,
        "precision": request.precision,
        "nondeterministic": request.nondeterministic,
    }
    return PlannedStage(stage, StageKey(stage.name, plain(settings)), chosen, outlined.backbone, outlined.weights)


def _given(file: str, stage: Stage, outlined: Outline) -> Imported:
    request = outlined.request
    places = Places(request.methods_path, request.backbones_path)
    return find_network(file, request.method, outlined.backbone, stage.name, places)


def stage_notes(stages: tuple[PlannedStage, ...], out: str | None) -> list[str]:
    """What a plan says of its stages: how long each is, on what, and whether it is done."""
    lines = []
    for planned in stages:
        if planned.given:
            origin = planned.given.origin
            lines.append(f"stage {planned.stage.name}: {origin.what} of {origin.file}, which is not trained here")
            continue
        stage, folder = planned.stage, planned.key.folder(results_root(out))
        recipe, chosen = stage.recipe, planned.chosen
        left = f", {chosen.left_out:,} without such a class left out" if stage.images == "base" else " of any class"
        lines.append(
            f"stage {stage.name} (fold {planned.key.settings['fold']}): {recipe.iterations:,} steps of {recipe.batch} "
            f"of {len(chosen.images):,} images{left}; {_state(planned, folder)}"
        )
    return lines


def _state(planned: PlannedStage, folder: Path) -> str:
    document = read_stage(folder, planned.key)
    if is_trained(document, folder):
        return f"trained already, in {folder}"
    verb = "trained first" if document is None else "its training goes on"
    return f"{verb}, in {folder}"


def stages_left(stages: tuple[PlannedStage, ...], out: str | None) -> dict[str, int]:
    """The steps that each stage's training still takes, by its title; what is trained has no entry."""
    left = {}
    for planned in stages:
        folder, whole = planned.key.folder(results_root(out)), planned.stage.recipe.iterations
        document = read_stage(folder, planned.key)
        if is_trained(document, folder):
            continue
        has_state = document is not None and (folder / CHECKPOINT_FILE).exists()
        done = min(count_lines(folder / TRAIN_FILE), whole) if has_state else 0
        left[planned.title] = whole - done
    return left
