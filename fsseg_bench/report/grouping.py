"""Which runs share a row of a table: those that are equal in everything but fold, shot and what depends on the shot."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import OF_A_FOLD, OF_A_TABLE, ShownSettings, flat
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.recipes import stage_words, unlike_stages
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.words import checkpoints, given_list, short

_SAID_ELSEWHERE = (*OF_A_TABLE, *OF_A_FOLD, "shot", "method", "backbone")
"""Settings that the table's title, columns and labels say."""
_SAID_BY_ALWAYS = ("precision", "nondeterministic", "cache_dtype", "scales", "trained_with")
"""Settings that :func:`fsseg_bench.report.words.always` puts into words."""
_STAGES = "stages."
_OPTIONS = {"seed": "seed", "iterations": "recipe.iterations", "weights": "weights"}
"""Options of a run that no setting of ``--set`` changes, and the settings they become."""


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
class Row:
    """The runs of a row, equal in everything but shot, fold and what a method changes with the shot."""

    shots: Sequence[ShotRuns]
    variant: str = ""
    """What tells the row from others of the same method and backbone."""
    evaluated: tuple[str, ...] = ()
    """Which images its runs saw, where other runs of the table saw others in the same episodes; else nothing."""

    @cached_property
    def runs(self) -> Mapping[int, Mapping[int, ScoredRun]]:
        """Shot to fold to run."""
        return {at_shot.shot: at_shot.folds for at_shot in self.shots}

    @property
    def all_runs(self) -> list[ScoredRun]:
        """All runs."""
        return [run for at_shot in self.shots for run in at_shot.folds.values()]

    @property
    def settings(self) -> ShownSettings:
        """The settings of one of them."""
        return self.all_runs[0].record.settings

    @property
    def method(self) -> str:
        """The method's name."""
        return self.settings.method

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.settings.backbone

    @property
    def rules(self) -> tuple[str, ...]:
        """What must be equal before numbers are ranked: precision, data, replayed episodes and evaluated images."""
        return self.settings.precision, self.settings.data_fingerprint, self.shots[0].episodes, *self.evaluated

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Each setting's different values within the row, as JSON text."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        known: dict[str, Any] = {}
        for run in self.all_runs:
            for key, value in flat(run.record.settings.without(*_SAID_ELSEWHERE, *_SAID_BY_ALWAYS)):
                if isinstance(value, (list, tuple)) or key not in known or not _same(known[key], value):
                    found[key][json.dumps(value, ensure_ascii=False)] = None
                    known[key] = value
        return {key: tuple(values) for key, values in found.items()}

    def given(self) -> set[str]:
        """The settings that were given explicitly and could change a number."""
        keys = set[str]()
        for run in self.all_runs:
            request = run.record.info.passed
            keys |= {_OPTIONS[key] for key in request.given() if key in _OPTIONS}
            keys |= {_setting_of(key) for key in request.settings}
        return keys & self.values.keys()

    def within(self) -> set[str]:
        """The settings in which the runs of the row differ, from shot to shot."""
        return {key for key, values in self.values.items() if len(values) > 1}

    def against(self, other: Row) -> set[str]:
        """The settings in which the row differs from another."""
        keys = self.values.keys() | other.values.keys()
        differing = {key for key in keys if self.values.get(key) != other.values.get(key)}
        for name in unlike_stages(self.settings, other.settings):
            differing = {key for key in differing if not key.startswith(f"{_STAGES}{name}.")} | {f"{_STAGES}{name}"}
        parameters = {self.settings.parameters, other.settings.parameters}
        if len(parameters) == 1 or parameters <= {"here", "checkpoint"}:
            return differing
        # one of them has no known training, and its row says so in words; how the other trained adds nothing
        return {key for key in differing if not key.startswith(("recipe.", "stages.", "training_"))}

    def value(self, key: str) -> str:
        """The values of a setting in short; of a whole stage, how it was made."""
        if key.startswith(_STAGES) and "." not in key.removeprefix(_STAGES):
            return stage_words((self.settings.stages or {}).get(key.removeprefix(_STAGES)))
        return "/".join(short(json.loads(value)) for value in self.values.get(key, ())) or "not set"


def _same(one: object, other: object) -> bool:
    """Whether two numbers, texts or truth values are one in JSON: 1, 1.0 and true are three."""
    return type(one) is type(other) and one == other


def _setting_of(key: str) -> str:
    """The setting that a key of ``--set`` changes, by dotted name."""
    if key.startswith("recipe."):
        return key
    group, _, rest = key.partition(".")
    name, _, value = rest.partition(".")
    if group == "stage" and value:
        return f"stages.{name}.{value}" if value == "images" else f"stages.{name}.recipe.{value}"
    return f"switches.{key.removeprefix('method.')}"


def list_names(runs: Sequence[StoredRun]) -> Mapping[Path, str]:
    """By folder the list that a run replayed: equal for the folds of one experiment, never for two lists of one fold.

    Empty for the protocol's own episodes. A file that was changed between two runs has two contents under one name;
    each then has a name of its own.
    """
    digests: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for run in runs:
        digests[given_list(run), run.fold, run.settings.shot].add(run.settings.episode_digest)
    names = {}
    for run in runs:
        family = given_list(run)
        several = family and len(digests[family, run.fold, run.settings.shot]) > 1
        names[run.folder] = f"{family} ({run.settings.episode_digest[:8]})" if several else family
    return names


def group_runs(runs: Iterable[ScoredRun], collection: Collection) -> list[Row]:
    """The rows of a table, in the order of their first runs. No run is dropped: two for one cell make two rows."""
    runs = list(runs)
    alike: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        shared = settings.without(*OF_A_TABLE, *OF_A_FOLD, "shot", "recipe")
        alike[settings_text([shared, settings.parameters, run.record.owner])].append(run)
    lists = list_names([run.record for run in runs])
    return [row for members in alike.values() for row in _rows(members, lists, collection)]


def settings_text(settings: Any) -> str:
    """Equal for equal settings; these are from JSON, so nothing needs converting."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def images_words(run: ScoredRun) -> str:
    """The content of the images that were evaluated, in words."""
    return f"test images {short(run.record.settings.evaluated_digest or 'not noted')}"


def _rows(runs: Iterable[ScoredRun], lists: Mapping[Path, str], collection: Collection) -> list[Row]:
    """One row for all shots; where a shot has several recipes or labels, one row for each of these."""
    by_recipe: dict[tuple[int, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        by_recipe[settings.shot, settings_text(settings.recipe)].append(run)
    shots = [s for key, members in by_recipe.items() for s in _shot_runs(*key, members, lists, collection)]
    shots.sort(key=lambda s: s.shot)
    if len({s.shot for s in shots}) == len(shots) and len({(s.label, s.episodes) for s in shots}) == 1:
        return [Row(shots)]
    rows: dict[tuple[str, str, str], list[ShotRuns]] = defaultdict(list)
    for s in shots:
        rows[s.recipe, s.label, s.episodes].append(s)
    return [Row(members) for members in rows.values()]


def _shot_runs(
    shot: int, recipe: str, runs: Sequence[ScoredRun], lists: Mapping[Path, str], collection: Collection
) -> list[ShotRuns]:
    """One for each list of episodes; where a fold has several runs over it, each of these is one by itself."""
    by_list: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_list[lists[run.record.folder]].append(run)
    found = []
    for episodes, members in by_list.items():
        label = f"episodes {PurePath(episodes).name}" if episodes else ""
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
