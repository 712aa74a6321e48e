"""Which runs share a row of a table, and what must be said to tell rows apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fsseg_bench.records.identity import flat
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import OF_A_FOLD, OF_A_TABLE, Parameters, ShownSettings
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.fidelity import reconstructions
from fsseg_bench.report.given import ListNames, given_list
from fsseg_bench.report.recipes import what_differs
from fsseg_bench.report.words import always, checkpoints, natural, short

_NEVER_TOLD = (*OF_A_TABLE, *OF_A_FOLD, "shot", "method", "backbone")
_ALWAYS_TOLD = ("precision", "scales", "trained_with")
_GIVEN = {"seed": "seed", "iterations": "recipe.iterations", "weights": "weights"}
"""Options of a run that no setting of ``--set`` changes, and the settings they become."""


@dataclass(frozen=True)
class Row:
    """The runs of one row: equal in everything but shot, fold and what a method changes with the shot."""

    method: str
    backbone: str
    runs: Mapping[int, Mapping[int, ScoredRun]]
    """Shot to fold to run."""
    variant: str = ""
    """What tells the row from others of the same method and backbone."""
    episodes: str = ""
    """The list whose episodes were replayed; empty for the protocol's own."""
    evaluated: tuple[str, ...] = ()
    """Which images its runs saw, where other runs of the table saw others in the same episodes; else nothing."""

    @property
    def settings(self) -> ShownSettings:
        """The settings of one of its runs."""
        return _first_record(self).settings

    @property
    def rules(self) -> tuple[str, ...]:
        """What must be equal before numbers are ranked: precision, data, replayed episodes and evaluated images."""
        return self.settings.precision, self.settings.data_fingerprint, self.episodes, *self.evaluated


@dataclass
class _Line:
    """The runs of one shot."""

    shot: int
    recipe: str
    runs: dict[int, ScoredRun] = field(default_factory=dict)
    label: str = ""
    """What tells the line from another with the same settings."""
    episodes: str = ""
    """The list whose episodes were replayed."""


def group_rows(runs: Sequence[ScoredRun], collection: Collection, *, told: bool = False) -> list[Row]:
    """Rows for ``runs`` of one table, sorted by backbone, method and variant.

    Two runs that claim one cell are never merged or dropped: each gets a row of its own, which says what
    distinguishes it.

    Args:
        runs: finished runs under one set of rules.
        collection: what they are from.
        told: rows say every setting that was given explicitly, and not only where other rows have another value.
    """
    by_core: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_core[_text([_core(run), run.record.settings.parameters])].append(run)
    names = ListNames(run.record for run in runs)
    rows = [_Lines(lines) for members in by_core.values() for lines in _lines_of_rows(members, names, collection)]
    named: dict[tuple[str, str], list[_Lines]] = defaultdict(list)
    for row in rows:
        named[row.first].append(row)
    several_data = len({run.record.settings.data_fingerprint for run in runs}) > 1
    labels = _Labels(reconstructions() if runs else frozenset(), told, several_data, _images_seen(runs))
    made = _distinct([_row(row, named[row.first], labels) for row in rows], collection)
    return sorted(made, key=lambda row: (natural(row.backbone), natural(row.method), natural(row.variant)))


def differences_of_training(rows: Sequence[Row]) -> list[str]:
    """Lines that say in what the trainings of a table's rows differ, beside the backbone, which each row says."""
    methods = [row.method for row in rows]
    by_shot: dict[int, list[tuple[str, ShownSettings]]] = defaultdict(list)
    for row in rows:
        own = row.method if methods.count(row.method) == 1 else f"{row.method} on {row.backbone}"
        for shot, runs in row.runs.items():
            by_shot[shot] += [(own, run.record.settings) for run in runs.values()]
    lines = {shot: what_differs(members, skip=["backbone"]) for shot, members in sorted(by_shot.items())}
    if len({tuple(own) for own in lines.values()}) <= 1:
        return next(iter(lines.values()), [])
    return [f"{shot}-shot: {line}" for shot, own in lines.items() for line in own]


def claimed_twice(collection: Collection) -> list[str]:
    """What to say of finished runs that differ in nothing that a table could show; each has a row of its own."""
    claims: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        key = run.record.settings.without("novel", "class_names", "episode_digest", "checkpoint")
        claims[_text(key | {"given": given_list(run.record)})].append(run)
    return [
        f"{_cell_name(own[0])}: {len(own)} records claim this cell, each is listed: "
        + ", ".join(collection.path(run.record) for run in own)
        for own in claims.values()
        if len(own) > 1
    ]


def _cell_name(run: ScoredRun) -> str:
    s = run.record.settings
    return f"{s.protocol_label}, {s.method}, {s.backbone}, {s.way}-way {s.shot}-shot, fold {s.fold}, seed {s.seed}"


def _core(run: ScoredRun) -> dict[str, Any]:
    """What runs of one row share."""
    return run.record.settings.without(*OF_A_TABLE, *OF_A_FOLD, "shot", "recipe")


def _text(settings: Any) -> str:
    """Equal for equal settings; these are from JSON, so nothing needs converting."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _lines_of_rows(runs: Iterable[ScoredRun], names: ListNames, collection: Collection) -> list[list[_Line]]:
    """The lines of each row: all shots in one row, unless a shot has several lines."""
    by_line: dict[tuple[int, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        by_line[settings.shot, _text(settings.recipe)].append(run)
    lines = [line for (shot, recipe), own in by_line.items() for line in _split(shot, recipe, own, names, collection)]
    lines.sort(key=lambda line: line.shot)
    if len({line.shot for line in lines}) == len(lines) and len({(line.label, line.episodes) for line in lines}) == 1:
        return [lines]
    rows: dict[tuple[str, str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        rows[line.recipe, line.label, line.episodes].append(line)
    return list(rows.values())


def _split(shot: int, recipe: str, runs: Sequence[ScoredRun], names: ListNames, collection: Collection) -> list[_Line]:
    """A line for each set of episodes; more when a fold has several runs over them."""
    by_episodes: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_episodes[names.name(run.record)].append(run)
    lines = []
    for name, own in by_episodes.items():
        label = names.label(own[0].record)
        folds = [run.record.fold for run in own]
        alone = {run.record.fold: run for run in own if folds.count(run.record.fold) == 1}
        lines += [_Line(shot, recipe, alone, label, name)] if alone else []
        for run in (run for run in own if run.record.fold not in alone):
            words = "; ".join(filter(None, (label, _own_name(run, own, collection))))
            lines.append(_Line(shot, recipe, {run.record.fold: run}, words, name))
    return lines


def _own_name(run: ScoredRun, others: Sequence[ScoredRun], collection: Collection) -> str:
    """What tells a run from others of its fold: the checkpoint that was evaluated, or else the record's folder."""
    checkpoint = checkpoints([run.record.settings])
    rivals = [other for other in others if other is not run and other.record.fold == run.record.fold]
    images = _images(run)
    if all(_images(other) != images for other in rivals):
        return images
    if checkpoint and all(checkpoints([other.record.settings]) != checkpoint for other in rivals):
        return checkpoint
    return f"record {collection.path(run.record)}"


def _images(run: ScoredRun) -> str:
    """The content of the images that were evaluated, in words."""
    return f"test images {short(run.record.settings.evaluated_digest or 'not noted')}"


def _images_seen(runs: Sequence[ScoredRun]) -> Mapping[Path, str]:
    """By folder the images of each run, where runs saw different ones in the same episodes."""
    seen: dict[object, set[str]] = defaultdict(set)
    for run in runs:
        seen[run.record.settings.episode_digest].add(_images(run))
    return {run.record.folder: _images(run) for run in runs if len(seen[run.record.settings.episode_digest]) > 1}


class _Lines:
    """The lines of one row, and what they are made of."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.lines = lines
        self.runs = [run for line in lines for run in line.runs.values()]
        self.settings = self.runs[0].record.settings
        self.first = self.settings.method, self.settings.backbone

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Each setting's different values within the row, as JSON text."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for run in self.runs:
            for key, value in flat(run.record.settings.without(*_NEVER_TOLD, *_ALWAYS_TOLD)):
                found[key][json.dumps(value, ensure_ascii=False)] = None
        return {key: tuple(values) for key, values in found.items()}

    @property
    def training(self) -> Parameters:
        """How its runs got their parameters; the runs of a row agree in it."""
        return self.settings.parameters

    def given(self) -> set[str]:
        """The settings that were given explicitly and could change a number."""
        keys = set[str]()
        for run in self.runs:
            given = run.record.info.passed
            keys |= {_GIVEN[key] for key in given.given() if key in _GIVEN}
            keys |= {k if k.startswith("recipe.") else f"switches.{k.removeprefix('method.')}" for k in given.settings}
        return keys & self.values.keys()


@dataclass(frozen=True)
class _Labels:
    """What rows say of themselves."""

    reconstructions: frozenset[str]
    """Methods whose source says that they are one."""
    told: bool
    """Whether all explicit settings are told."""
    several_data: bool
    """Whether the table's runs saw different data."""
    images: Mapping[Path, str]
    """See :func:`_images_seen`."""


def _told(own: _Lines, others: Sequence[_Lines], labels: _Labels) -> set[str]:
    """The settings that the row must say: those in which it differs from ``others``, or among its own shots."""
    told = {key for key, its in own.values.items() if len(its) > 1}
    if labels.told:
        told |= own.given()
    if labels.several_data:
        told.add("data_fingerprint")
    for other in others:
        keys = own.values.keys() | other.values.keys()
        differing = {key for key in keys if own.values.get(key) != other.values.get(key)}
        if other.training != own.training and not {own.training, other.training} <= {"here", "checkpoint"}:
            # one of them has no known training, and the row says so in words; how the other trained adds nothing
            differing = {key for key in differing if not key.startswith("recipe.")}
        told |= differing
    if own.training in {"untrained", "unknown"}:
        told = {key for key in told if key != "recipe.iterations"}
    return told - {"weights_digest"} if "weights" in told else told


def _row(own: _Lines, others: Sequence[_Lines], labels: _Labels) -> Row:
    parts = ["reconstruction"] if own.first[0] in labels.reconstructions else []
    parts += [*always(own.settings), *filter(None, [checkpoints(run.record.settings for run in own.runs)])]
    for key in sorted(_told(own, others, labels)):
        shown = "/".join(short(json.loads(value)) for value in own.values.get(key, ())) or "not set"
        parts.append(f"{key.removeprefix('recipe.').removeprefix('switches.')}={shown}")
    images = sorted({labels.images[f] for run in own.runs if (f := run.record.folder) in labels.images})
    parts += dict.fromkeys([*(line.label for line in own.lines if line.label), *images])
    runs = {line.shot: line.runs for line in own.lines}
    return Row(*own.first, runs, "; ".join(dict.fromkeys(parts)), own.lines[0].episodes, tuple(images))


def _distinct(rows: Sequence[Row], collection: Collection) -> list[Row]:
    """``rows``, with the first record's folder added where the variants alone do not tell them apart."""
    names = [(row.method, row.backbone, row.variant) for row in rows]
    return [
        replace(row, variant="; ".join(filter(None, (row.variant, f"record {collection.path(_first_record(row))}"))))
        if names.count(name) > 1
        else row
        for row, name in zip(rows, names, strict=True)
    ]


def _first_record(row: Row) -> StoredRun:
    return next(run.record for runs in row.runs.values() for run in runs.values())
