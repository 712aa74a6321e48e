"""``checkpoint.rule = "validation"``: which state of a training is kept, by episodes of classes that are not scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.distributed import processes
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.training_data import TrainingData
from fsseg_bench.errors import UserError
from fsseg_bench.machine import stopping
from fsseg_bench.method import Method
from fsseg_bench.protocol.episode_spec import EpisodeSpec
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.scoring import mean_iou
from fsseg_bench.protocol.spec import CheckpointSpec, Protocol, Resolution
from fsseg_bench.protocol.table import EpisodeTable, Further, further_of_table
from fsseg_bench.records.request import RunRequest


@dataclass(frozen=True)
class Validation:
    """The episodes by which a training's state is chosen."""

    rule: CheckpointSpec
    protocol: Protocol
    """The training's, with the validation classes as its only fold: so no other class can be drawn."""
    data: TrainingData
    pairs: Mapping[int, Sequence[str]]
    """Validation class to the training images that show enough of it."""
    table: EpisodeTable
    headline: Resolution
    """Where pixels are counted."""

    @property
    def classes(self) -> tuple[int, ...]:
        """Label values of the validation classes, ascending."""
        return self.protocol.novel_classes(1)

    @property
    def words(self) -> str:
        """What a plan says of it."""
        count = len(self.classes)
        return (
            f"checkpoint: the best by mean-IoU on {len(self.table):,} episodes of {count} validation "
            f"class{'es' * (count > 1)}, every {self.rule.every:,} steps and at the end (no part of the estimate)"
        )


def plan_validation(protocol: Protocol, data: TrainingData, request: RunRequest) -> Validation | None:
    """The validation of a run that trains on ``data``; None where the last state is kept.

    Episodes are drawn from the training's images alone, 1-way ones with the classes in turn. Ways and shots are those
    of the run's own episodes, as its method sees them.

    Raises:
        UserError: the classes have too few images or episodes, or several processes train together.
    """
    rule = protocol.checkpoint
    if rule.rule != "validation":
        return None
    where = f"{protocol.label}: checkpoint.rule = {json.dumps(rule.rule)}"
    if processes().size > 1:
        raise UserError(f"{where} is for trainings by one process, and torchrun started {processes().size}")
    drawing = EpisodeSpec(rule.episodes, rule.seed, "cycle" if request.train_way == 1 else "uniform")
    rules = replace(
        data.protocol, folds={1: data.protocol.validation}, base=(), validation=(), episodes=drawing, overrides={}
    )
    pairs = data.index.validation_pairs(data.fold)
    try:
        table = sample_episodes(rules, 1, pairs, request.train_way, request.shot, data.index.copies)
    except UserError as error:
        raise UserError(f"{where}, {rule.episodes} episodes of the validation classes: {error}") from None
    if stray := {c for classes in table.classes for c in classes} & set(data.protocol.novel_classes(data.fold)):
        raise RuntimeError(f"validation episodes of held-out classes {stray}")
    return Validation(rule, rules, data, pairs, table, protocol.scoring.headline)


@dataclass(eq=False)
class Chooser:
    """Keeps the best of the states that a training goes through; of equal ones the first."""

    every: int
    score: Callable[[Method], float]
    """Mean-IoU in [0, 1]."""
    scores: dict[int, float] = field(default_factory=dict)
    """By the steps done."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The parameters at :attr:`step`, on the host."""

    @property
    def step(self) -> int:
        """After how many steps the best state was."""
        return min(self.scores, key=lambda done: (-self.scores[done], done))

    def looks(self, done: int, whole: int) -> bool:
        """Whether the state after ``done`` of ``whole`` steps is to be looked at, and was not yet."""
        return done not in self.scores and bool(done) and (done % self.every == 0 or done == whole)

    def look(self, method: Method, done: int) -> bool:
        """Scores a state; False where the process was told to end meanwhile, and nothing is known of it."""
        try:
            with torch.random.fork_rng(devices=[]):
                self.scores[done] = self.score(method)
        except stopping.Stopped:
            return False
        if self.step == done:
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in method.state_dict().items()}
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it beside :attr:`best`."""
        return {"scores": [[done, score] for done, score in sorted(self.scores.items())]}

    def restore(self, state: Mapping[str, Any], best: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint."""
        self.scores = {int(done): float(score) for done, score in state.get("scores", ())}
        self.best = dict(best)


def build_chooser(validation: Validation, request: RunRequest, device: torch.device, budget: Budget) -> Chooser:
    """The chooser of a training on ``device``; features within the host's part of ``budget``."""

    def score(method: Method) -> float:
        return _score(validation, request, method, device, budget)

    return Chooser(validation.rule.every, score)


def facts(validation: Validation, scores: Mapping[int, float]) -> dict[str, Any]:
    """What run.json says: rule, episodes, every score (mean-IoU in [0, 1]), and the step that was chosen."""
    chosen = Chooser(validation.rule.every, lambda _: 0.0, dict(scores)).step
    names = [validation.protocol.class_name(c) for c in validation.classes]
    return {
        "rule": validation.rule.rule,
        "episodes": len(validation.table),
        "episode_digest": validation.table.digest,
        "classes": names,
        "scores": {str(done): score for done, score in sorted(scores.items())},
        "step": chosen,
    }


def _score(validation: Validation, request: RunRequest, method: Method, device: torch.device, budget: Budget) -> float:
    """Mean-IoU of a method, which is left as it is, on the validation episodes."""
    one = replace(request, way=request.train_way, merge=None)
    model = InferenceModel.of(one, method, device)
    table, counts = validation.table, []

    def sink(result: EpisodeResult) -> None:
        counts.append(getattr(result, validation.headline).numpy())

    setting = Setting(
        size=validation.protocol.image.side,
        scales=(1.0,),
        head_batch=request.head_batch or (None if backend_of(device).is_gpu else 1),
        workers=0,
    )
    cache = FeatureCache(device, Budget(0, budget.host))  # the training needs the device's memory
    Evaluator(model, validation.data.source, table, setting, cache, _further(validation, method)).run(sink)
    return float(mean_iou(np.stack(counts), np.asarray(table.classes), validation.classes))


def _further(validation: Validation, method: Method) -> tuple[Further, ...]:
    count = method.unlabelled_images
    if not count:
        return ()
    return further_of_table(validation.table, validation.pairs, count, validation.data.index.copies)
