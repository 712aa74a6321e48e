"""What a row of a table must say of its runs, so that a reader can tell it from the other rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fsseg_bench.records.identity import flat
from fsseg_bench.records.settings import OF_A_FOLD, OF_A_TABLE
from fsseg_bench.registry import cards
from fsseg_bench.report.collect import ScoredRun
from fsseg_bench.report.grouping import RowRuns, images_words
from fsseg_bench.report.words import always, checkpoints, short

_SAID_ELSEWHERE = (*OF_A_TABLE, *OF_A_FOLD, "shot", "method", "backbone")
"""Settings that the table's title, columns and labels say."""
_SAID_BY_ALWAYS = ("precision", "scales", "trained_with")
"""Settings that :func:`fsseg_bench.report.words.always` puts into words."""
_OPTIONS = {"seed": "seed", "iterations": "recipe.iterations", "weights": "weights"}
"""Options of a run that no setting of ``--set`` changes, and the settings they become."""


def reconstructions() -> frozenset[str]:
    """Methods whose card says that they were built from too little to be the original.

    Raises:
        UserError: as :func:`fsseg_bench.registry.cards`.
    """
    return frozenset(card.name for card in cards() if card.fidelity == "reconstruction")


class RowSettings:
    """A row with the settings of its runs by dotted name."""

    def __init__(self, row: RowRuns) -> None:
        self.row = row
        self.parameters = row.settings.parameters
        """How the runs got their parameters; those of a row agree in it."""

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Each setting's different values within the row, as JSON text."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for run in self.row.runs:
            for key, value in flat(run.record.settings.without(*_SAID_ELSEWHERE, *_SAID_BY_ALWAYS)):
                found[key][json.dumps(value, ensure_ascii=False)] = None
        return {key: tuple(values) for key, values in found.items()}

    def given(self) -> set[str]:
        """The settings that were given explicitly and could change a number."""
        keys = set[str]()
        for run in self.row.runs:
            request = run.record.info.passed
            keys |= {_OPTIONS[key] for key in request.given() if key in _OPTIONS}
            keys |= {
                key if key.startswith("recipe.") else f"switches.{key.removeprefix('method.')}"
                for key in request.settings
            }
        return keys & self.values.keys()

    def within(self) -> set[str]:
        """The settings in which the runs of the row differ, from shot to shot."""
        return {key for key, values in self.values.items() if len(values) > 1}

    def against(self, other: RowSettings) -> set[str]:
        """The settings in which the row differs from another."""
        keys = self.values.keys() | other.values.keys()
        differing = {key for key in keys if self.values.get(key) != other.values.get(key)}
        if other.parameters == self.parameters or {self.parameters, other.parameters} <= {"here", "checkpoint"}:
            return differing
        # one of them has no known training, and its row says so in words; how the other trained adds nothing
        return {key for key in differing if not key.startswith("recipe.")}

    def value(self, key: str) -> str:
        """The values of a setting in short."""
        return "/".join(short(json.loads(value)) for value in self.values.get(key, ())) or "not set"


@dataclass(frozen=True)
class Labels:
    """Makes the labels of a table's rows."""

    reconstructions: frozenset[str]
    """Methods whose source says that they are one."""
    all_given: bool
    """Whether rows say all explicit settings."""
    several_data: bool
    """Whether the table's runs saw different data."""
    images: Mapping[Path, str]
    """By folder the images of a run, where runs saw different ones in the same episodes."""

    @classmethod
    def of(cls, runs: Sequence[ScoredRun], *, all_given: bool) -> Labels:
        """For the rows of these runs."""
        several_data = len({run.record.settings.data_fingerprint for run in runs}) > 1
        return cls(reconstructions() if runs else frozenset(), all_given, several_data, _images_seen(runs))

    def variant(self, row: RowSettings, others: Iterable[RowSettings]) -> str:
        """What a row says beside its method and backbone.

        Args:
            row: which.
            others: the other rows with its method and backbone.
        """
        runs, settings = row.row.runs, row.row.settings
        parts = ["reconstruction"] if settings.method in self.reconstructions else []
        parts += [*always(settings), checkpoints(run.record.settings for run in runs)]
        for key in sorted(self._stated(row, others)):
            parts.append(f"{key.removeprefix('recipe.').removeprefix('switches.')}={row.value(key)}")
        parts += [*(at_shot.label for at_shot in row.row.shots), *self.evaluated(row.row)]
        return "; ".join(dict.fromkeys(filter(None, parts)))

    def evaluated(self, row: RowRuns) -> tuple[str, ...]:
        """Which images the runs of a row saw, where other runs saw others in the same episodes; else nothing."""
        return tuple(sorted({self.images[f] for run in row.runs if (f := run.record.folder) in self.images}))

    def _stated(self, row: RowSettings, others: Iterable[RowSettings]) -> set[str]:
        """The settings that the row must state: those in which it differs from others, or among its shots."""
        stated = row.within().union(*(row.against(other) for other in others))
        if self.all_given:
            stated |= row.given()
        if self.several_data:
            stated.add("data_fingerprint")
        if row.parameters in {"untrained", "unknown"}:
            stated.discard("recipe.iterations")
        if "weights" in stated:
            stated.discard("weights_digest")
        return stated


def _images_seen(runs: Sequence[ScoredRun]) -> Mapping[Path, str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        seen[run.record.settings.episode_digest].add(images_words(run))
    return {run.record.folder: images_words(run) for run in runs if len(seen[run.record.settings.episode_digest]) > 1}
