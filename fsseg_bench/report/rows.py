"""Which runs share a row of a table, and what must be said to tell rows apart."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from fsseg_bench.records.identity import canonical_json, flat
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.collect import Collection, ScoredRun

_TABLE_KEYS = ("protocol", "protocol_label", "protocol_version", "protocol_digest", "headline", "way")
_FOLD_KEYS = ("fold", "novel", "class_names", "episode_digest")
_SHOT_KEYS = ("shot", "recipe")
_NEVER_TOLD = {*_TABLE_KEYS, *_FOLD_KEYS, "shot", "method", "backbone"}
_ALWAYS_TOLD = {"precision", "scales"}
_HEX = re.compile(r"[0-9a-f]{32,}")


@dataclass(frozen=True)
class Row:
    """The runs of one row: equal in everything but shot, fold and what a method changes with the shot."""

    method: str
    backbone: str
    runs: Mapping[int, Mapping[int, ScoredRun]]
    """Shot to fold to run."""
    variant: str = ""
    """What tells the row from others of the same method and backbone."""


@dataclass
class _Line:
    """The runs of one shot."""

    shot: int
    recipe: str
    runs: dict[int, ScoredRun] = field(default_factory=dict)
    label: str = ""
    """What tells the line from another with the same settings."""


def group_rows(runs: Sequence[ScoredRun], collection: Collection) -> list[Row]:
    """Rows for ``runs`` of one table, sorted by backbone, method and variant.

    Two runs that claim one cell are never merged or dropped: each gets a row of its own, which says what
    distinguishes it.
    """
    by_core: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        core = _without(settings, *_TABLE_KEYS, *_FOLD_KEYS, *_SHOT_KEYS)
        by_core[canonical_json(core | {"untrained": _untrained(settings)})].append(run)
    groups = [group for members in by_core.values() for group in _lines_of_rows(members, collection)]
    rows = _distinct([_row(lines, _told(lines, groups)) for lines in groups], collection)
    return sorted(rows, key=lambda row: (_natural(row.backbone), _natural(row.method), _natural(row.variant)))


def _without(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def _untrained(settings: Mapping[str, Any]) -> bool:
    return not settings.get("checkpoint_digest") and settings.get("recipe", {}).get("iterations") == 0


def _lines_of_rows(runs: Iterable[ScoredRun], collection: Collection) -> list[list[_Line]]:
    """The lines of each row: all shots in one row, unless a shot has several lines."""
    by_line: dict[tuple[int, str], list[ScoredRun]] = defaultdict(list)
    for run in runs:
        settings = run.record.settings
        by_line[settings["shot"], canonical_json(settings.get("recipe", {}))].append(run)
    lines = [line for (shot, recipe), own in by_line.items() for line in _split(shot, recipe, own, collection)]
    lines.sort(key=lambda line: line.shot)
    if len({line.shot for line in lines}) == len(lines):
        return [lines]
    rows: dict[tuple[str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        rows[line.recipe, line.label].append(line)
    return list(rows.values())


def _split(shot: int, recipe: str, runs: Sequence[ScoredRun], collection: Collection) -> list[_Line]:
    """One line, or several when a fold has several runs."""
    if _unique(runs):
        return [_Line(shot, recipe, {run.record.fold: run for run in runs})]
    by_episodes: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        by_episodes[_episodes_given(run)].append(run)
    if all(map(_unique, by_episodes.values())):
        return [
            _Line(shot, recipe, {run.record.fold: run for run in own}, f"episodes {name}" if name else "")
            for name, own in by_episodes.items()
        ]
    folds = [run.record.fold for run in runs]
    alone = {run.record.fold: run for run in runs if folds.count(run.record.fold) == 1}
    lines = [_Line(shot, recipe, alone)] if alone else []
    for run in runs:
        if run.record.fold not in alone:
            label = f"record {collection.path(run.record)}"
            lines.append(_Line(shot, recipe, {run.record.fold: run}, label))
    return lines


def _unique(runs: Sequence[ScoredRun]) -> bool:
    return len({run.record.fold for run in runs}) == len(runs)


def _episodes_given(run: ScoredRun) -> str:
    """The file whose episodes were replayed; empty for the protocol's own."""
    passed = run.record.info.get("passed")
    given = str(passed.get("episodes") or "") if isinstance(passed, Mapping) else ""
    return "" if given.isdigit() else given


def _told(own: Sequence[_Line], groups: Sequence[Sequence[_Line]]) -> set[str]:
    """The settings in which a row differs from others of its method and backbone, or among its own shots."""
    values = _values(own)
    told = {key for key, its in values.items() if len(its) > 1}
    for lines in groups:
        if _first(lines) != _first(own):
            continue
        other = _values(lines)
        differing = {key for key in values.keys() | other.keys() if values.get(key) != other.get(key)}
        if _training(lines) != _training(own):  # the row says so in words; how one of them trained adds nothing
            differing = {key for key in differing if key.partition(".")[0] not in {"recipe", "checkpoint_digest"}}
        told |= differing
    return told - {"weights_digest"} if "weights" in told else told


def _training(lines: Sequence[_Line]) -> tuple[bool, bool]:
    settings = _runs(lines)[0].record.settings
    return _untrained(settings), bool(settings.get("checkpoint_digest"))


def _first(lines: Sequence[_Line]) -> tuple[str, str]:
    settings = _runs(lines)[0].record.settings
    return settings["method"], settings["backbone"]


def _runs(lines: Sequence[_Line]) -> list[ScoredRun]:
    return [run for line in lines for run in line.runs.values()]


def _values(lines: Sequence[_Line]) -> dict[str, tuple[str, ...]]:
    """Each setting's different values within a row, as JSON text."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for run in _runs(lines):
        for key, value in flat(_without(run.record.settings, *_NEVER_TOLD, *_ALWAYS_TOLD)):
            found[key][json.dumps(value, ensure_ascii=False)] = None
    return {key: tuple(values) for key, values in found.items()}


def _row(lines: Sequence[_Line], told: set[str]) -> Row:
    parts = _always(_runs(lines)[0].record.settings)
    values = _values(lines)
    for key in sorted(told):
        shown = "/".join(_short(json.loads(value)) for value in values.get(key, ())) or "not set"
        parts.append(f"{key.removeprefix('recipe.').removeprefix('switches.')}={shown}")
    parts += dict.fromkeys(line.label for line in lines if line.label)
    return Row(*_first(lines), {line.shot: line.runs for line in lines}, "; ".join(parts))


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


def _always(settings: Mapping[str, Any]) -> list[str]:
    """What a reader must know even when no other row makes it necessary."""
    parts = []
    if settings.get("precision", "fp32") != "fp32":
        parts.append(str(settings["precision"]))
    if list(settings.get("scales") or [1.0]) != [1.0]:
        parts.append("scales " + "/".join(_short(scale) for scale in settings["scales"]))
    if settings.get("checkpoint_digest"):
        parts.append("trained elsewhere")
    elif _untrained(settings):
        parts.append("untrained")
    return parts


def _short(value: Any) -> str:
    """A setting's value in few characters: digests shortened, of a path the file name."""
    if isinstance(value, str):
        if _HEX.fullmatch(value):
            return value[:8]
        return PurePath(value).name if "/" in value else value
    if isinstance(value, list):
        return ",".join(map(_short, value))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts ``resnet50`` before ``resnet101``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
