"""Predictions of finished runs on chosen episodes, as pictures side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import query_label
from fsseg_bench.engine.cache import Budget
from fsseg_bench.engine.counts import confusion
from fsseg_bench.engine.device import resolve_device
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.open_run import OpenRun, RunPlaces, open_run
from fsseg_bench.engine.panels import Tile, episode_tiles
from fsseg_bench.engine.plan import OpenSources
from fsseg_bench.engine.run import build_evaluator

_KEEP_NOTHING = Budget(0, 0)


@dataclass(frozen=True)
class ShownEpisode:
    """One episode of runs that share their episodes."""

    episode: int
    folders: Mapping[str, Path]
    """The title of each prediction, and the run that makes it."""


def predicted_tiles(shown: Sequence[ShownEpisode], places: RunPlaces | None = None) -> list[list[Tile]]:
    """For each episode: supports, query, each run's prediction, truth.

    Each run is opened once.

    Raises:
        UserError: as :func:`fsseg_bench.engine.open_run.open_run`; code has changed and a prediction is not the
            recorded one.
    """
    opened: OpenSources = {}
    wanted: dict[Path, list[tuple[int, str]]] = defaultdict(list)
    for number, episode in enumerate(shown):
        for title, folder in episode.folders.items():
            wanted[folder].append((number, title))
    labels: dict[tuple[int, str], UInt8] = {}
    plans = {}
    for folder, uses in wanted.items():
        run = open_run(folder, places, opened)
        device = resolve_device(run.plan.request.device)
        model = InferenceModel(run.plan.model.to(device), device, run.plan.request.precision)
        evaluator = build_evaluator(run.plan, model, _KEEP_NOTHING)
        for number, title in uses:
            labels[number, title] = _prediction(run, evaluator, shown[number].episode)
            plans[number] = run.plan
    return [
        episode_tiles(plans[number], episode.episode, [(title, labels[number, title]) for title in episode.folders])
        for number, episode in enumerate(shown)
    ]


def _prediction(run: OpenRun, evaluator: Evaluator, episode: int) -> UInt8:
    """Labels (S, S) uint8."""
    (prediction,) = evaluator.predict(range(episode, episode + 1))
    if run.changed_code:
        plan = run.plan
        truth = query_label(
            plan.source, plan.table.queries[episode], plan.table.classes[episode], plan.protocol.image.size
        )
        counts = confusion(prediction[None], torch.from_numpy(truth)[None], plan.table.ways)[0]
        run.check_counts(episode, input=counts)
    pixels: UInt8 = prediction.numpy()
    return pixels
