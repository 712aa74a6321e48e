"""A run as far as it can be resolved without its data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.engine.build import TrainedFile, assemble, default_backbone
from fsseg_bench.engine.optimise import check_training
from fsseg_bench.engine.released import Places, find_imported
from fsseg_bench.engine.remembered import FORGETFUL, Remembered, settings_key
from fsseg_bench.engine.request_checks import checked_protocol, recipe_of, stages_of
from fsseg_bench.engine.switches import parse_switches
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method, Stage
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import RunRequest, grouped
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.registry import find_method
from fsseg_bench.storage.json_text import plain
from fsseg_bench.values import text_of

PUBLISHED = "published"
"""For ``--backbone``: each method's own, even where several methods would share one."""


@dataclass(frozen=True)
class Outline:
    """A request with what it says by itself: everything but data, episodes and numbers of the model."""

    request: RunRequest
    protocol: Protocol
    cls: type[Method]
    switches: dict[str, Any]
    recipe: Recipe
    backbone: str
    weights: str
    """As ``--weights`` takes them; ``none`` where a checkpoint is evaluated, which holds all parameters."""
    released: TrainedFile | None = None
    """What to evaluate, where that is a released checkpoint."""
    remarks: tuple[str, ...] = ()
    """What is set otherwise than the released checkpoint needs it."""
    stages: tuple[Stage, ...] = ()
    """What is trained before the method."""

    def built(self, base_classes: int, kept: Remembered = FORGETFUL) -> tuple[Method, WeightsInfo]:
        """The method, not trained, for so many base classes; and what its backbone was filled with.

        A model that was ``kept`` has the random numbers of another seed.

        Raises:
            NotHereError: the published weights are not here and cannot be downloaded.
            UserError: anything else is wrong with the weights, or nothing is left to train.
        """
        request = self.request
        # a checkpoint holds all parameters, so that neither seed nor weights nor recipe have a part in its numbers
        seed = request.seed if request.eval_only is None else 0
        key = self.model_key(base_classes)
        model, info = kept.latest(
            "model",
            key,
            lambda: assemble(
                self.cls, self.backbone, self.weights, self.switches, seed, base_classes, request.backbones_path
            ),
        )
        if self.recipe.iterations:
            trained = settings_key(vars(self.recipe))
            kept.get("trainable", (key, trained), lambda: check_training(model, self.recipe))
        return model, info

    def model_key(self, base_classes: int) -> Hashable:
        """What the parts and sizes of the model depend on: all but its numbers."""
        switches = settings_key(self.switches)
        return self.cls, self.backbone, self.weights, switches, base_classes, self.request.backbones_path

    def settings(
        self, request: RunRequest, protocol: Protocol, weights: WeightsInfo, digests: Mapping[str, Any]
    ) -> RunSettings:
        """Everything that determines the numbers of a run that trains, or evaluates its method as it is built.

        ``request`` and ``protocol`` are the outline's, or what a given list of episodes made of them; ``digests`` are
        of data, episodes and code.
        """
        novel = protocol.novel_classes(request.fold)
        return RunSettings(
            protocol=protocol.name,
            protocol_label=protocol.label,
            protocol_version=protocol.version,
            protocol_digest=protocol.digest,
            method=request.method,
            switches=plain(self.switches),
            recipe=plain(self.recipe.settings()),
            backbone=self.backbone,
            weights=Path(weights.source).name,
            weights_digest=weights.digest,
            fold=request.fold,
            way=request.way,
            shot=request.shot,
            seed=request.seed,
            precision=request.precision,
            nondeterministic=request.nondeterministic or None,
            merge=request.merge,
            cache_dtype=None if request.cache_dtype == "float32" else request.cache_dtype,
            scales=request.scales,
            base_classes=len(protocol.training(request.fold).base),
            novel=novel,
            class_names={str(c): protocol.class_name(c) for c in novel},
            headline=protocol.scoring.headline,
            side_information=protocol.side_information,
            runs=len(protocol.episodes.seeds) if len(protocol.episodes.seeds) > 1 else None,
            pad_multiple=protocol.image.side.multiple or None,
            boundary=protocol.scoring.boundary or None,
            **digests,
        )


def outline(request: RunRequest, kept: Remembered = FORGETFUL) -> Outline:
    """Resolves what a request says by itself.

    Raises:
        UserError: anything in it is unknown or contradictory.
    """
    protocol = checked_protocol(request, kept)
    name = request.method, request.methods_path
    cls = kept.get("method", name, lambda: find_method(*name))
    if cls.max_ways is not None and request.train_way > cls.max_ways:
        raise UserError(
            f"--way {request.way}: {request.method} does at most {cls.max_ways}-way episodes; --merge max-logit (or "
            "softmax, background-threshold=T) joins one-way predictions of it"
        )
    if request.merge is not None and request.way == 1:
        raise UserError(f"--merge {request.merge} joins the ways of an episode; give --way 2 or more")
    backbone, weights = default_backbone(cls, protocol.training(request.fold).protocol)
    if request.backbone is not None:
        backbone = cls.default_backbone if request.backbone == PUBLISHED else request.backbone
    weights = (request.weights or weights) if request.eval_only is None else "none"
    released = _released(request, backbone, kept)
    needed = {} if released is None or released.imported is None else released.imported.origin.switches
    given = grouped(request.settings)["switch"]
    values = {**needed, **given}
    switches = kept.get("switches", (cls, settings_key(values)), lambda: parse_switches(request.method, cls, values))
    recipe = recipe_of(request, cls, protocol, switches)
    published = parse_switches(request.method, cls, needed)
    remarks = tuple(
        f"{name}={text_of(switches[name])} is set; the released network has {name}={text_of(published[name])}"
        for name in needed
        if switches[name] != published[name]
    )
    stages = stages_of(request, cls, protocol)
    return Outline(request, protocol, cls, switches, recipe, backbone, weights, released, remarks, stages)


def _released(request: RunRequest, backbone: str, kept: Remembered) -> TrainedFile | None:
    """The checkpoint to evaluate, where it is a released one."""
    given, places = request.eval_only, Places(request.methods_path, request.backbones_path)
    if given is None:
        return None
    key = given, request.method, backbone, places
    return kept.latest("released", key, lambda: find_imported(given, request.method, backbone, places))
