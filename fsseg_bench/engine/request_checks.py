"""What a request says by itself: its protocol and recipe, and what contradicts itself before any data is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fsseg_bench.conventions import MOST_LABELS
from fsseg_bench.engine.remembered import FORGETFUL, Remembered, settings_key
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Method, Stage, StageImages, TrainingFree
from fsseg_bench.paths import storable
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import RunRequest, grouped, protocol_of
from fsseg_bench.schema import WrongError, fields_of, fitted
from fsseg_bench.values import checked_value

_LEAST_SIDE = 16  # pixels: two cells at output stride 8


def checked_protocol(request: RunRequest, kept: Remembered = FORGETFUL) -> Protocol:
    """The protocol of a request that contradicts neither itself nor the protocol.

    Raises:
        UserError: it does; names the option.
    """
    _check_texts(request)
    changes = settings_key(grouped(request.settings)["protocol"])
    count = None if request.episode_list else request.episodes
    key = request.dataset, request.sources_path, changes, count
    protocol = kept.get("protocol", key, lambda: protocol_of(request))
    protocol.check_fold(request.fold)
    _check_values(request)
    for scale in request.scales:
        side = round(scale * protocol.image.size)
        if side < _LEAST_SIDE:
            raise UserError(
                f"--scales {scale}: {side} pixels of {protocol.image.size}; queries need at least {_LEAST_SIDE}"
            )
    return protocol


def recipe_of(request: RunRequest, cls: type[Method], protocol: Protocol, switches: Mapping[str, Any]) -> Recipe:
    """The method's recipe with the changes of the request; of no iterations where a checkpoint is evaluated.

    ``switches`` are all of the method's.

    Raises:
        UserError: options contradict each other, a value does not fit, or there is nothing to train on.
    """
    given = grouped(request.settings)["recipe"]
    changes = dict(given)
    if given and request.eval_only is not None:
        key = next(iter(given))
        raise UserError(f"--set recipe.{key} and --eval-only exclude each other: a checkpoint is evaluated as it is")
    if "iterations" in given and request.iterations is not None:
        raise UserError("--set recipe.iterations contradicts --iterations; give one")
    if request.iterations is not None:
        changes["iterations"] = request.iterations
    if request.eval_only is not None:
        changes["iterations"] = 0
    own = cls.recipe_with(protocol.training(request.fold).protocol, request.shot, switches)
    recipe = own.with_settings(changes)
    free, chooses = issubclass(cls, TrainingFree), bool(own.iterations)
    if free and chooses and not recipe.iterations and request.eval_only is None:
        raise UserError(
            f"{request.method} with these switches chooses a value on episodes of base classes, and --iterations 0 "
            "leaves it without one; leave that out, or set the value itself"
        )
    if recipe.iterations and free and not chooses:
        raise UserError(
            f"{request.method} trains nothing, so it cannot be trained for {recipe.iterations:,} iterations; leave "
            "out --iterations"
        )
    if recipe.iterations and (why := _no_training(protocol, request.fold)):
        if free:
            raise UserError(f"{why}, on which {request.method} could choose a value; set the value itself")
        raise UserError(
            f"{why}: {request.method} cannot be trained on it; evaluate a trained model with --eval-only, or the "
            "untrained one with --iterations 0"
        )
    if recipe.iterations and cls.reads_class_labels and (why := _too_many_labels(protocol, request.fold)):
        raise UserError(
            f"{why}: {request.method} trains with such maps; evaluate a trained model with --eval-only, or take a "
            "method that trains on episodes alone"
        )
    return recipe


def _too_many_labels(protocol: Protocol, fold: int) -> str | None:
    """Why there is no map of labels over all base classes; None where there is one."""
    base = len(protocol.training(fold).base)
    if base <= MOST_LABELS:
        return None
    return f"{protocol.label}: one map of labels holds {MOST_LABELS} base classes, and fold {fold} has {base}"


def _no_training(protocol: Protocol, fold: int) -> str | None:
    """Why nothing can be trained under a protocol; None where something can."""
    if protocol.train is not None:
        return None  # whose protocol has images and base classes
    if not protocol.data.train_list:
        return f"{protocol.label} is for testing alone, its data.train_list is empty"
    if not protocol.base_classes(fold):
        return f"{protocol.label} has one fold, and so no base classes"
    return None


def stages_of(request: RunRequest, cls: type[Method], protocol: Protocol) -> tuple[Stage, ...]:
    """The method's stages with the changes of the request, less those of no iterations; none where a checkpoint is
    evaluated, which holds all parameters.

    Raises:
        UserError: no such stage or key, a value does not fit, or there is nothing to train on.
    """
    given = grouped(request.settings)["stage"]
    if request.eval_only is not None:
        if given:
            key = next(iter(given))
            raise UserError(f"--set stage.{key} and --eval-only exclude each other: a checkpoint is evaluated as it is")
        return ()
    stages = cls.stages_before(protocol.training(request.fold).protocol, request.shot)
    changes: dict[str, dict[str, Any]] = {stage.name: {} for stage in stages}
    for key, value in given.items():
        name, _, rest = key.partition(".")
        if name not in changes:
            raise unknown(f"stage of {request.method}", name, changes)
        changes[name][rest] = value
    found = tuple(_changed(stage, changes[stage.name]) for stage in stages)
    found = tuple(stage for stage in found if stage.recipe.iterations)
    if found and (why := _no_training(protocol, request.fold)):
        raise UserError(
            f"{why}: {request.method}'s stage {found[0].name} cannot be trained on it; evaluate a trained model with "
            f"--eval-only, or the untrained one with --set stage.{found[0].name}.iterations=0"
        )
    if found and (why := _too_many_labels(protocol, request.fold)):
        raise UserError(
            f"{why}: {request.method}'s stage {found[0].name} trains with such maps; evaluate a trained model with "
            "--eval-only, or take a method that trains on episodes alone"
        )
    return found


def stage_files(request: RunRequest) -> dict[str, str]:
    """By stage the released network that ``--set stage.NAME.file`` gives in place of its training."""
    given = grouped(request.settings)["stage"].items()
    return {
        name: str(value)
        for (name, _, rest), value in ((key.partition("."), value) for key, value in given)
        if rest == "file"
    }


def _changed(stage: Stage, given: Mapping[str, Any]) -> Stage:
    """The stage with other values, which are named by the stage in messages."""
    changes = dict(given)
    if changes.pop("file", None) is not None and changes:
        key = next(iter(changes))
        raise UserError(
            f"--set stage.{stage.name}.{key} and stage.{stage.name}.file exclude each other: a network that is given "
            "is not trained"
        )
    images = checked_value(f"stage.{stage.name}.images", changes.pop("images", stage.images), StageImages)
    try:
        recipe = stage.recipe.with_settings(changes)
    except UserError as error:
        raise UserError(f"stage {stage.name}: {error}") from None
    return replace(stage, recipe=recipe, images=images)


def _check_texts(request: RunRequest) -> None:
    """Refuses text that a record cannot hold; a terminal's arguments are looked at before they come here."""
    texts = [value for value in vars(request).values() if isinstance(value, str)]
    for text in (*texts, *map(str, request.settings), *map(str, request.settings.values())):
        if not storable(text):
            raise UserError(f"{text!a}: this is not valid UTF-8, or holds a NUL character")


def _check_values(request: RunRequest) -> None:
    for name, kind, _ in fields_of(RunRequest):
        if name != "settings":  # each of these is checked by what it changes
            try:
                fitted(getattr(request, name), kind, f"--{name.replace('_', '-')}")
            except WrongError as wrong:
                raise UserError(str(wrong)) from None
    if request.eval_only is not None and request.iterations not in {None, 0}:
        raise UserError("--eval-only and --iterations exclude each other: a checkpoint is evaluated as it is")
    if request.eval_only is not None and request.weights not in {None, "none", "imagenet"}:
        raise UserError(f"--eval-only and --weights {request.weights} exclude each other: it holds all parameters")
