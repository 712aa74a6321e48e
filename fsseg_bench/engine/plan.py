"""A run, resolved: every choice named, checked and digested before any model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import Evaluated, examine, open_source
from fsseg_bench.data.source import Source
from fsseg_bench.engine.build import TrainedFile, find_trained
from fsseg_bench.engine.code_digest import method_digest
from fsseg_bench.engine.optimise import trunks
from fsseg_bench.engine.outline import outline
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.catalogue import backbone_module
from fsseg_bench.nn.weight_files import file_hash
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.paths import data_root
from fsseg_bench.protocol.episodes import EpisodeTable, check_episodes, sample_episodes
from fsseg_bench.protocol.lists import is_count, list_path
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import Further, further_of_table
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import CheckpointTraining, RunSettings
from fsseg_bench.registry import method_module


@dataclass(frozen=True)
class Plan:
    """A request with everything it depends on."""

    request: RunRequest
    """As asked; a file of the very episodes that the protocol draws is left out, another one has its whole path."""
    protocol: Protocol
    cls: type[Method]
    switches: dict[str, Any]
    recipe: Recipe
    backbone: str
    source: Source
    index: PairIndex
    table: EpisodeTable
    further: tuple[Further, ...]
    """For each episode the images without masks that the method looks at; empty for most methods."""
    evaluated: Evaluated
    """The content of the episodes' images and masks; the source refuses to decode any other."""
    model: Method
    """Initialised, not trained."""
    base_classes: int
    """How many classes the model tells apart in training: the fold's, or those of the checkpoint's own training."""
    weights: WeightsInfo
    """What the backbone was filled with."""
    remarks: tuple[str, ...]
    """What was left out of the data, or read otherwise than as it is written."""
    settings: RunSettings
    """The identity of the run: two runs with equal settings are the same run."""
    checkpoint: TrainedFile | None = None
    """What to evaluate instead of training."""
    trained: CheckpointTraining | None = None
    """What is known of the training of a checkpoint to evaluate."""


OpenSources = dict[tuple[str, str], tuple[Source, PairIndex]]
"""Sources and indices by protocol digest and data root: opened once for the runs of one command, which read each test
image once for all of them."""


def make_plan(request: RunRequest, opened: OpenSources | None = None) -> Plan:
    """Resolves and checks a request; ``opened`` is shared by the plans of one command.

    Raises:
        UserError: anything in it is unknown, contradictory or cannot be had here.
    """
    planned = outline(request)
    protocol, recipe = planned.protocol, planned.recipe
    source, index = _open(protocol, request.data_root, {} if opened is None else opened)
    table = _episodes(request, protocol, index)
    if request.episode_list:
        request, protocol = _given_list(request, protocol, table, index)
    base = len(protocol.base_classes(request.fold))
    checkpoint = None if request.eval_only is None else find_trained(request.eval_only, "--eval-only")
    trained = None
    if checkpoint is not None:
        trained = checkpoint.training(request.method, planned.backbone, protocol, request.fold)
    if trained and trained.settings and trained.settings.base_classes is not None:
        base = trained.settings.base_classes
    model, info = planned.built(base)
    pairs, count = index.test_pairs(request.fold), model.unlabelled_images
    further = further_of_table(table, pairs, count, index.copies) if count else ()
    evaluated, unlabelled = _evaluated(source, table, further, decode=not request.no_check)
    digests = {
        "data_fingerprint": index.fingerprint,
        "episode_digest": table.digest,
        "evaluated_digest": evaluated.digest,
        "unlabelled_digest": unlabelled.digest if unlabelled else None,
        "method_digest": method_digest(
            [planned.cls, *(type(trunk) for trunk in trunks(model))],
            [
                method_module(request.method, request.methods_path),
                backbone_module(planned.backbone, request.backbones_path),
                *(recipe.modules if recipe.iterations else ()),
            ],
            type(source),
        ),
    }
    settings = planned.settings(request, protocol, info, digests)
    if checkpoint is not None:
        nothing: dict[str, Any] = {"recipe": {}, "seed": 0, "weights": "checkpoint", "weights_digest": None}
        settings = replace(settings, **nothing, checkpoint_digest=file_hash(checkpoint.file))
    return Plan(
        request=request,
        protocol=protocol,
        cls=planned.cls,
        switches=planned.switches,
        recipe=recipe,
        backbone=planned.backbone,
        source=source,
        index=index,
        table=table,
        further=further,
        evaluated=evaluated,
        model=model,
        base_classes=base,
        weights=info,
        remarks=(*index.remarks((request.fold,)), *index.source_remarks),
        settings=settings,
        checkpoint=checkpoint,
        trained=trained,
    )


def _open(protocol: Protocol, root: str | None, opened: OpenSources) -> tuple[Source, PairIndex]:
    key = (protocol.digest, str(data_root(root)))
    if key not in opened:
        source = open_source(protocol, data_root(root))
        opened[key] = (source, build_index(source, protocol))
    return opened[key]


def _episodes(request: RunRequest, protocol: Protocol, index: PairIndex) -> EpisodeTable:
    pairs = index.test_pairs(request.fold)
    if request.episodes is None or is_count(request.episodes):
        return sample_episodes(protocol, request.fold, pairs, request.way, request.shot, index.copies)
    path = list_path(request.episodes, request.fold)
    table = EpisodeTable.from_csv(path)
    novel = protocol.novel_classes(request.fold)
    check_episodes(
        table,
        pairs,
        novel,
        request.way,
        request.shot,
        where=path,
        support_replacement=protocol.episodes.support_replacement,
        copies=index.copies,
    )
    return table


def _given_list(
    request: RunRequest, protocol: Protocol, table: EpisodeTable, index: PairIndex
) -> tuple[RunRequest, Protocol]:
    """What a file of episodes makes of a request: nothing where it holds what the protocol draws by itself."""
    try:
        pairs = index.test_pairs(request.fold)
        drawn = sample_episodes(protocol, request.fold, pairs, request.way, request.shot, index.copies)
    except UserError:  # too few images to draw from: every list is then one from elsewhere
        drawn = None
    if drawn is not None and drawn.digest == table.digest:
        return replace(request, episodes=None), protocol
    # the whole path: lists of one name in two folders are two experiments
    return replace(request, episodes=str(Path(str(request.episodes)).absolute())), replace_list(protocol)


def _evaluated(
    source: Source, table: EpisodeTable, further: Sequence[Further], *, decode: bool
) -> tuple[Evaluated, Evaluated | None]:
    """The content of the episodes' images and masks, the same for all methods; and of images without masks, if any."""
    images = {image for i in range(len(table)) for image in table.images(i)}
    unlabelled = {image for ways in further for way in ways for image in way}
    evaluated = examine(source, images, labels=True, decode=decode)
    return evaluated, examine(source, unlabelled, labels=False, decode=decode) if unlabelled else None
