"""What can be put in one order: the rows of a table at one shot, their trainings together, if they can be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import FoldCounts
from fsseg_bench.records.settings import OF_A_FOLD
from fsseg_bench.report.grouping import Row, settings_text
from fsseg_bench.report.scored import ScoredRun

_MUST_AGREE = ("episode_digest", "data_fingerprint", "evaluated_digest")


@dataclass(frozen=True)
class Entrant:
    """A row at one shot; rows that differ in the training seed alone are one."""

    rows: tuple[Row, ...]
    shot: int
    variant: str
    """What tells it from others of the method and backbone at this shot."""

    @property
    def method(self) -> str:
        """The method's name."""
        return self.rows[0].method

    @property
    def folds(self) -> Mapping[int, tuple[ScoredRun, ...]]:
        """Fold to one run for each training seed."""
        of_rows = [row.runs[self.shot] for row in self.rows]
        return {fold: tuple(runs[fold] for runs in of_rows) for fold in sorted(of_rows[0])}

    @property
    def seeds(self) -> list[int]:
        """The training seeds."""
        return [row.settings.seed for row in self.rows]

    def counts(self, folds: Sequence[int], resolution: Resolution) -> list[list[FoldCounts]]:
        """Folds, then seeds."""
        return [[run.fold_counts(resolution) for run in self.folds[fold]] for fold in folds]


def entrant_name(entrant: Entrant, *, with_backbone: bool) -> str:
    """The method, its backbone where asked for, and what tells it from others."""
    name = f"{entrant.method} on {entrant.rows[0].backbone}" if with_backbone else entrant.method
    return f"{name} ({entrant.variant})" if entrant.variant else name


def comparable(rows: Sequence[Row], shot: int) -> Iterator[list[Entrant]]:
    """The entrants among ``rows``, those together that can be compared.

    Backbones are kept apart unless none of them has two entrants. So are entrants that saw other images or episodes.
    """
    by_backbone: dict[str, list[Entrant]] = defaultdict(list)
    for entrant in _entrants(rows, shot):
        by_backbone[entrant.rows[0].backbone].append(entrant)
    kept_apart = [_alike(members) for members in by_backbone.values()]
    if not any(len(members) > 1 for parts in kept_apart for members in parts):
        kept_apart = [_alike([entrant for members in by_backbone.values() for entrant in members])]
    for parts in kept_apart:
        yield from parts


def _entrants(rows: Sequence[Row], shot: int) -> list[Entrant]:
    merged: dict[str, list[Row]] = {}
    for row in (row for row in rows if shot in row.runs):
        runs = row.runs[shot]
        settings = next(iter(runs.values())).record.settings
        facts = [settings.without(*OF_A_FOLD, "seed"), settings.parameters, row.rules, sorted(runs)]
        name = settings_text(facts)
        while any(other.settings.seed == row.settings.seed for other in merged.get(name, ())):
            name += "'"  # two records of one training stay apart
        merged.setdefault(name, []).append(row)
    names = [(rows[0].method, rows[0].backbone, _without_seed(rows[0].variant)) for rows in merged.values()]
    return [
        Entrant(tuple(members), shot, members[0].variant if names.count(name) > 1 else name[-1])
        for members, name in zip(merged.values(), names, strict=True)
    ]


def _without_seed(variant: str) -> str:
    return "; ".join(part for part in variant.split("; ") if not part.startswith("seed="))


def _alike(entrants: Sequence[Entrant]) -> list[list[Entrant]]:
    """Those that saw the same images and episodes in every fold that they share."""
    parts: list[list[Entrant]] = []
    for entrant in entrants:
        fitting = (part for part in parts if all(_same_episodes(entrant, other) for other in part))
        if (part := next(fitting, None)) is None:
            parts.append(part := [])
        part.append(entrant)
    return parts


def _same_episodes(a: Entrant, b: Entrant) -> bool:
    return all(
        getattr(mine.record.settings, key) == getattr(its.record.settings, key)
        for fold in set(a.folds) & set(b.folds)
        for mine, its in [(a.folds[fold][0], b.folds[fold][0])]
        for key in _MUST_AGREE
    )
