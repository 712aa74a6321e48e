"""Which runs share a row of a table: those that are equal in everything but fold, shot and what depends on the shot."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsseg_bench.records.settings import OF_A_FOLD, OF_A_TABLE, ShownSettings
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.given import ListNames
from fsseg_bench.report.words import checkpoints, short


@dataclass(frozen=True)
class ShotRuns:
    """The runs of a row at one shot."""

    shot: int
    recipe: str
    """The recipe as text: a method may have another one for each shot."""
    folds: Mapping[int, ScoredRun]
    """Fold to run."""
    label: str
    """What tells them from others with the same settings: the list of episodes, or what one run of several is."""
    episodes: str
    """The list whose episodes were replayed; empty for the protocol's own."""


@dataclass(frozen=True)
class RowRuns:
    """The runs of a row."""

    shots: Sequence[ShotRuns]

    @property
    def runs(self) -> list[ScoredRun]:
        """All of them."""
        return [run for at_shot in self.shots for run in at_shot.folds.values()]

    @property
    def settings(self) -> ShownSettings:
        """The settings of one of them."""
        return self.runs[0].record.settings

    @property
    def name(self) -> tuple[str, str]:
        """Method and backbone."""
        return self.settings.method, self.settings.backbone


def group_runs(runs: Iterable[ScoredRun], collection: Collection) -> list[RowRuns]:
    """The rows of a table, in the order of their first runs. No run is dropped: two for one cell make two rows."""
    runs = list(runs)
    alike: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        shared = settings.without(*OF_A_TABLE, *OF_A_FOLD, "shot", "recipe")
        alike[settings_text([shared, settings.parameters])].append(run)
    lists = ListNames(run.record for run in runs)
    return [row for members in alike.values() for row in _rows(members, lists, collection)]


def settings_text(settings: Any) -> str:
    """Equal for equal settings; these are from JSON, so nothing needs converting."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def images_words(run: ScoredRun) -> str:
    """The content of the images that were evaluated, in words."""
    return f"test images {short(run.record.settings.evaluated_digest or 'not noted')}"


def _rows(runs: Iterable[ScoredRun], lists: ListNames, collection: Collection) -> list[RowRuns]:
    """One row for all shots; where a shot has several recipes or labels, one row for each of these."""
    by_recipe: dict[tuple[int, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        by_recipe[settings.shot, settings_text(settings.recipe)].append(run)
    shots = [s for key, members in by_recipe.items() for s in _shot_runs(*key, members, lists, collection)]
    shots.sort(key=lambda s: s.shot)
    if len({s.shot for s in shots}) == len(shots) and len({(s.label, s.episodes) for s in shots}) == 1:
        return [RowRuns(shots)]
    rows: dict[tuple[str, str, str], list[ShotRuns]] = defaultdict(list)
    for s in shots:
        rows[s.recipe, s.label, s.episodes].append(s)
    return [RowRuns(members) for members in rows.values()]


def _shot_runs(
    shot: int, recipe: str, runs: Sequence[ScoredRun], lists: ListNames, collection: Collection
) -> list[ShotRuns]:
    """One for each list of episodes; where a fold has several runs over it, each of these is one by itself."""
    by_list: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_list[lists.name(run.record)].append(run)
    found = []
    for episodes, members in by_list.items():
        label = lists.label(members[0].record)
        folds = [run.record.fold for run in members]
        single = {run.record.fold: run for run in members if folds.count(run.record.fold) == 1}
        found += [ShotRuns(shot, recipe, single, label, episodes)] if single else []
        for run in (run for run in members if run.record.fold not in single):
            rivals = [other for other in members if other is not run and other.record.fold == run.record.fold]
            words = "; ".join(filter(None, (label, _difference(run, rivals, collection))))
            found.append(ShotRuns(shot, recipe, {run.record.fold: run}, words, episodes))
    return found


def _difference(run: ScoredRun, rivals: Sequence[ScoredRun], collection: Collection) -> str:
    """What tells a run from its rivals for one cell: the images or the checkpoint, or else the record's folder."""
    images, checkpoint = images_words(run), checkpoints([run.record.settings])
    if all(images_words(other) != images for other in rivals):
        return images
    if checkpoint and all(checkpoints([other.record.settings]) != checkpoint for other in rivals):
        return checkpoint
    return f"record {collection.path(run.record)}"
