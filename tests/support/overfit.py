"""Whether a method can learn at all: its real training on four fixed episodes, then its score on the same four."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from fsseg_bench.data.training import TrainingEpisodes
from fsseg_bench.engine import run_training
from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.train import Trainer
from fsseg_bench.protocol.episodes import EpisodeTable
from fsseg_bench.protocol.table import further_of_table
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import RunRecord
from tests.support.fresh import ROOT

BACKBONES = ROOT / "tests" / "fixtures" / "backbones"
EPISODES = 4
_CPU = torch.device("cpu")


def training_iou(
    name: str,
    *,
    iterations: int = 100,
    lr: float = 1e-2,
    size: int | None = None,
    backbone: str = "resnet18-layer2",
    **switches: Any,
) -> float:
    """The pooled foreground IoU of a method on the four shapes5i episodes that it was trained on, in [0, 1].

    Its backbone begins with random numbers. It is trained by the engine's trainer with its own recipe, except
    for the rate, the number of steps, a batch of all four episodes and no augmentation; then evaluated by the
    engine's evaluator (evaluation mode, batch-norm folded, labels hidden).

    Args:
        name: as in ``fsseg-bench list methods``.
        iterations: optimiser steps.
        lr: learning rate.
        size: side of the images in pixels; None is the protocol's.
        backbone: as in ``fsseg-bench list backbones``, or one of the tests' own.
        switches: of the method; ``{"recipe.KEY": value}`` sets further values of the recipe.
    """
    settings = {key: str(value) for key, value in switches.items()}
    settings |= {"recipe.lr": str(lr), "recipe.batch": str(EPISODES), "recipe.augment": "none"}
    if size is not None:
        settings["protocol.image.size"] = str(size)
    with tempfile.TemporaryDirectory() as folder:
        request = RunRequest(
            name,
            "shapes5i",
            backbone=backbone,
            backbones_path=str(BACKBONES),
            iterations=iterations,
            device="cpu",
            settings=settings,
            out=folder,
        )
        plan = make_plan(request)
        episodes = _Repeated(run_training.training_episodes(plan))
        _train(plan, episodes, Path(folder))
        return _foreground_iou(plan, episodes)


class _Repeated(TrainingEpisodes):
    """The first four episodes of a stream, over and over."""

    def __init__(self, stream: TrainingEpisodes) -> None:
        self.__dict__.update(stream.__dict__)

    def _draw(self, index: int) -> Any:
        return super()._draw(index % EPISODES)

    def table(self) -> EpisodeTable:
        """The same episodes for the evaluator."""
        drawn = [self._draw(i) for i in range(EPISODES)]
        return EpisodeTable(
            tuple(tuple(d.classes) for d in drawn),
            tuple(d.query for d in drawn),
            tuple(tuple(tuple(images) for images in d.supports) for d in drawn),
        )


def _train(plan: Plan, episodes: TrainingEpisodes, folder: Path) -> None:
    trainer = Trainer(plan.model, episodes, plan.recipe, seed=0, device=_CPU)
    with RunRecord.create(folder, plan.settings, plan.request, folds=4) as record:
        trainer.run(record)


def _foreground_iou(plan: Plan, episodes: _Repeated) -> float:
    table, count = episodes.table(), plan.model.unlabelled_images
    further = further_of_table(table, episodes.pairs, count) if count else ()
    model = InferenceModel(plan.model, _CPU, "fp32")
    setting = Setting(plan.protocol.image.size, workers=0)
    counts = torch.zeros(2, 2, dtype=torch.int64)

    def add(result: EpisodeResult) -> None:
        counts.add_(result.input)

    Evaluator(model, plan.source, table, setting, FeatureCache(_CPU, Budget(0, 2**30)), further).run(add)
    (_, false), (missed, true) = counts.tolist()
    return float(true / (true + false + missed))
