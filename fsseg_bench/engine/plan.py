"""A run, resolved: every choice named, checked and digested before any model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsseg_bench.data.index import PairIndex
from fsseg_bench.data.open import Evaluated, examine
from fsseg_bench.data.source import Source
from fsseg_bench.engine.build import TrainedFile, check_trained_for, find_trained
from fsseg_bench.engine.code_digest import method_digest
from fsseg_bench.engine.optimise import trunks
from fsseg_bench.engine.outline import Outline, outline
from fsseg_bench.engine.remembered import FORGETFUL, Remembered
from fsseg_bench.engine.stage_plan import PlannedStage, plan_stages
from fsseg_bench.engine.training_data import OpenSources, TrainingData, open_test, open_training
from fsseg_bench.engine.validation import Validation, plan_validation
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.catalogue import backbone_module
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import EpisodeTable, sample_episodes
from fsseg_bench.protocol.lists import is_count, list_path
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import NO_COPIES, Further, further_of_table
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.info import CHECKPOINT_FILE
from fsseg_bench.records.request import RunRequest, grouped
from fsseg_bench.records.settings import CheckpointTraining, RunSettings
from fsseg_bench.registry import method_module, what_was_seen
from fsseg_bench.seen import Seen, with_truth


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
    data_remarks: tuple[str, ...]
    """What was left out of the data, or read otherwise than as it is written."""
    method_remarks: tuple[str, ...]
    """What the method says of such episodes, and what is set otherwise than a released checkpoint needs it."""
    settings: RunSettings
    """The identity of the run: two runs with equal settings are the same run."""
    checkpoint: TrainedFile | None = None
    """What to evaluate instead of training."""
    trained: CheckpointTraining | None = None
    """What is known of the training of a checkpoint to evaluate."""
    stages: tuple[PlannedStage, ...] = ()
    """What is trained before the method, or taken from an earlier training, or given."""
    training: TrainingData | None = None
    """What is trained on; None where nothing is trained."""
    validation: Validation | None = None
    """By which episodes the state of the training is chosen; None: the last one is kept, or nothing is trained."""

    @property
    def to_train(self) -> tuple[PlannedStage, ...]:
        """The stages but those that are given."""
        return tuple(one for one in self.stages if not one.given)

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that the record says."""
        return (*self.data_remarks, *self.method_remarks, *self.shared)

    @property
    def shared(self) -> tuple[str, ...]:
        """What to say of novel classes that another protocol, which is trained on, has among its base classes."""
        return () if self.training is None else self.training.shared_with(self.protocol, self.request.fold)

    @property
    def seen(self) -> Seen:
        """What the run's numbers are made of, for its record.

        Raises:
            UserError: the user says otherwise of the weights than is known.
        """
        begun = self.trained.settings if self.trained else self.settings
        found = what_was_seen(
            self.settings.method,
            self.settings.backbone,
            begun.weights if begun else None,
            self.settings.protocol,
            self.settings.switches,
            stated=grouped(self.request.settings)["weights"],
            trained_elsewhere=begun is not None and begun.protocol != self.settings.protocol,
            methods_path=self.request.methods_path,
            backbones_path=self.request.backbones_path,
        )
        return with_truth(found) if self.model.reads_truth else found


_ORACLE = ("it reads the query's true mask at test: an oracle, whose numbers are a diagnosis and no result",)


def _merge_words(request: RunRequest) -> tuple[str, ...]:
    if request.merge is None:
        return ()
    return (
        f"each of the {request.way} ways is predicted alone, as in a one-way episode, and --merge {request.merge} "
        "joins the predictions; training is one-way",
    )


def make_plan(
    request: RunRequest,
    opened: OpenSources | None = None,
    kept: Remembered = FORGETFUL,
    coming: RunSettings | None = None,
) -> Plan:
    """Resolves and checks a request.

    Args:
        request: what is asked for.
        opened: shared by the plans of one command.
        kept: what equal parts of such plans are taken from; their models are shared then, and not to be run.
        coming: of a training that is yet to be made, whose record the request's ``eval_only`` will be; the identity of
            the plan then lacks ``checkpoint_digest``.

    Raises:
        UserError: anything in it is unknown, contradictory or cannot be had here.
    """
    planned = outline(request, kept)
    protocol, recipe, fold = planned.protocol, planned.recipe, request.fold
    protocol.check_episodes()
    opened = {} if opened is None else opened
    source, index = open_test(protocol, request.data_root, opened)
    trains = bool(planned.recipe.iterations or planned.stages)
    training = open_training(protocol, fold, request.data_root, opened) if trains else None
    validation = plan_validation(protocol, training, request) if training and planned.recipe.iterations else None
    table = _episodes(request, protocol, index, kept)
    if request.episode_list:
        request, protocol = _given_list(request, protocol, table, index)
    base = len(protocol.training(fold).base)
    checkpoint = planned.released
    if request.eval_only is not None and not coming and checkpoint is None:
        checkpoint = _trained(request.eval_only, kept)
    trained = None
    if checkpoint is not None:
        trained = checkpoint.training(request.method, planned.backbone, protocol, fold)
    elif coming is not None:
        trained = _coming(coming, request, planned.backbone, protocol)
    if trained and trained.settings and trained.settings.base_classes is not None:
        base = trained.settings.base_classes
    if checkpoint and checkpoint.imported and checkpoint.imported.origin.base_classes is not None:
        base = checkpoint.imported.origin.base_classes
    model, info = planned.built(base, kept)
    count = model.unlabelled_images
    drawn = index, fold, table.digest
    pairs = _test_pairs(index, fold, kept)
    further = kept.get(
        "further", (drawn, count), lambda: further_of_table(table, pairs, count, index.copies) if count else ()
    )
    decode = not request.no_check
    evaluated, unlabelled = kept.get(
        "evaluated", (drawn, count, decode), lambda: _evaluated(source, table, further, decode=decode)
    )
    digests: dict[str, Any] = {
        "data_fingerprint": index.fingerprint,
        "episode_digest": table.digest,
        "evaluated_digest": evaluated.digest,
        "unlabelled_digest": unlabelled.digest if unlabelled else None,
        "method_digest": _method_digest(planned, model, _kinds(source, protocol.training(fold).protocol), kept),
    }
    if training and training.elsewhere:
        digests |= {"training_data": training.rules.words, "training_fingerprint": training.fingerprint}
    stages = plan_stages(planned, training, info, model.backbone, kept) if training else ()
    if stages:
        digests["stages"] = {one.stage.name: one.shown for one in stages}
        digests["stage_identities"] = {one.stage.name: one.key.identity for one in stages}
    settings = planned.settings(request, protocol, info, digests)
    if trained is not None:
        settings = of_checkpoint(settings, checkpoint.digest if checkpoint else None)
    made = Plan(
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
        data_remarks=kept.get("remarks", drawn[:2], lambda: _data_remarks(index, fold, training)),
        method_remarks=(
            *planned.remarks,
            *model.remarks(request.train_way, request.shot),
            *_merge_words(request),
            *(_ORACLE if model.reads_truth else ()),
        ),
        settings=settings,
        checkpoint=checkpoint,
        trained=trained,
        stages=stages,
        training=training,
        validation=validation,
    )
    if grouped(request.settings)["weights"]:
        _ = made.seen  # what contradicts the cards is said before anything runs
    return made


def of_checkpoint(settings: RunSettings, digest: str | None) -> RunSettings:
    """The settings of a run that evaluates a checkpoint, from those that it had if it trained by itself.

    A checkpoint holds all parameters: recipe, seed and weights of its training have no part in the evaluation.

    Args:
        settings: of the method, episodes and data.
        digest: of the checkpoint's file; None where it is not made yet.
    """
    nothing: dict[str, Any] = {"recipe": {}, "seed": 0, "weights": "checkpoint", "weights_digest": None}
    nothing |= dict.fromkeys(("stages", "stage_identities", "training_data", "training_fingerprint"))
    return replace(settings, **nothing, checkpoint_digest=digest)


def _trained(given: str, kept: Remembered) -> TrainedFile:
    return kept.get("checkpoint", given, lambda: find_trained(given, "--eval-only"))


def _coming(settings: RunSettings, request: RunRequest, backbone: str, protocol: Protocol) -> CheckpointTraining:
    """What will be known of a training that is yet to be made."""
    where = f"the checkpoint of {settings.method}, {settings.shot}-shot, fold {settings.fold}"
    check_trained_for(settings, request.method, backbone, protocol, request.fold, where)
    return CheckpointTraining(CHECKPOINT_FILE, request.eval_only, settings.identity, settings, settings.to_json())


def _data_remarks(index: PairIndex, fold: int, training: TrainingData | None) -> tuple[str, ...]:
    own = (*index.remarks((fold,)), *index.source_remarks)
    if training is None or not training.elsewhere:
        return own
    return (*own, *(f"in training ({training.protocol.label}): {text}" for text in training.remarks))


def _kinds(source: Source, trained_on: Protocol) -> tuple[type[Source], ...]:
    """The readers of the data of test and training; those of a run that trains nothing too, or rows would differ."""
    kind = trained_on.data.kind
    return (type(source), kind) if issubclass(kind, Source) and kind is not type(source) else (type(source),)


def _method_digest(planned: Outline, model: Method, sources: tuple[type[Source], ...], kept: Remembered) -> str:
    request, recipe = planned.request, planned.recipe
    method, backbone = (request.method, request.methods_path), (planned.backbone, request.backbones_path)
    classes = (planned.cls, *(type(trunk) for trunk in trunks(model)))
    modules = (
        kept.get("method's module", method, lambda: method_module(*method)),
        kept.get("backbone's module", backbone, lambda: backbone_module(*backbone)),
        *(sorted(recipe.modules) if recipe.iterations else ()),
    )
    return kept.get("code", (classes, modules, sources), lambda: method_digest(classes, modules, *sources))


def _test_pairs(index: PairIndex, fold: int, kept: Remembered) -> dict[int, tuple[str, ...]]:
    return kept.get("pairs", (index, fold), lambda: index.test_pairs(fold))


def _episodes(request: RunRequest, protocol: Protocol, index: PairIndex, kept: Remembered) -> EpisodeTable:
    pairs, fold, way, shot = _test_pairs(index, request.fold, kept), request.fold, request.way, request.shot
    if request.episodes is None or is_count(request.episodes):
        return kept.get(
            "episodes",
            (index, fold, way, shot),
            lambda: sample_episodes(protocol, fold, pairs, way, shot, index.copies, index.test_order(fold)),
        )
    path = list_path(request.episodes, fold)
    table = EpisodeTable.from_csv(path)
    novel = protocol.novel_classes(fold)
    check_episodes(
        table,
        pairs,
        novel,
        way,
        shot,
        where=path,
        support_replacement=protocol.episodes.support_replacement,
        copies=NO_COPIES if protocol.episodes.sampler == "hsnet" else index.copies,
    )
    return table


def _given_list(
    request: RunRequest, protocol: Protocol, table: EpisodeTable, index: PairIndex
) -> tuple[RunRequest, Protocol]:
    """What a file of episodes makes of a request: nothing where it holds what the protocol draws by itself."""
    try:
        pairs, order = index.test_pairs(request.fold), index.test_order(request.fold)
        drawn = sample_episodes(protocol, request.fold, pairs, request.way, request.shot, index.copies, order)
    except UserError:  # too few images to draw from: every list is then one from elsewhere
        drawn = None
    if drawn is not None and drawn.digest == table.digest:
        return replace(request, episodes=None), protocol
    if (runs := len(protocol.episodes.seeds)) > 1:
        raise UserError(
            f"--episodes {request.episodes}: {protocol.label} has {runs} runs, and a list of other episodes is one "
            "run; add --set protocol.episodes.runs=1 (or one seed in place of a list)"
        )
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
