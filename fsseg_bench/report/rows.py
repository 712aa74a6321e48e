"""The rows of a table: runs that share one, and what it says of itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import ShownSettings
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.given import given_list
from fsseg_bench.report.grouping import group_runs, settings_text
from fsseg_bench.report.labelling import Labels, RowSettings
from fsseg_bench.report.recipes import what_differs
from fsseg_bench.report.words import natural


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


def group_rows(runs: Sequence[ScoredRun], collection: Collection, *, all_given: bool = False) -> list[Row]:
    """Rows for ``runs`` of one table, sorted by backbone, method and variant.

    Two runs that claim one cell are never merged or dropped: each gets a row of its own, which says what
    distinguishes it.

    Args:
        runs: finished runs under one set of rules.
        collection: what they are from.
        all_given: rows say every setting that was given explicitly, and not only where other rows have another value.
    """
    groups = [RowSettings(row) for row in group_runs(runs, collection)]
    same_name: dict[tuple[str, str], list[RowSettings]] = defaultdict(list)
    for group in groups:
        same_name[group.row.name].append(group)
    labels = Labels.of(runs, all_given=all_given)
    rows = [
        Row(
            *group.row.name,
            runs={at_shot.shot: at_shot.folds for at_shot in group.row.shots},
            variant=labels.variant(group, same_name[group.row.name]),
            episodes=group.row.shots[0].episodes,
            evaluated=labels.evaluated(group.row),
        )
        for group in groups
    ]
    return sorted(
        _distinct(rows, collection), key=lambda row: (natural(row.backbone), natural(row.method), natural(row.variant))
    )


def differences_of_training(rows: Sequence[Row]) -> list[str]:
    """Lines that say in what the trainings of a table's rows differ, beside the backbone, which each row says."""
    methods = [row.method for row in rows]
    by_shot: dict[int, list[tuple[str, ShownSettings]]] = defaultdict(list)
    for row in rows:
        name = row.method if methods.count(row.method) == 1 else f"{row.method} on {row.backbone}"
        for shot, runs in row.runs.items():
            by_shot[shot] += [(name, run.record.settings) for run in runs.values()]
    by_shot = dict(sorted(by_shot.items()))
    lines = {shot: what_differs(members, skip=["backbone"]) for shot, members in by_shot.items()}
    if len({tuple(of_shot) for of_shot in lines.values()}) <= 1:
        return next(iter(lines.values()), [])
    return [f"{shot}-shot: {line}" for shot, of_shot in lines.items() for line in of_shot]


def claimed_twice(collection: Collection) -> list[str]:
    """What to say of finished runs that differ in nothing that a table could show; each has a row of its own."""
    claims: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        key = run.record.settings.without("novel", "class_names", "episode_digest", "checkpoint")
        claims[settings_text(key | {"given": given_list(run.record)})].append(run)
    return [
        f"{_cell_name(rivals[0])}: {len(rivals)} records claim this cell, each is listed: "
        + ", ".join(collection.path(run.record) for run in rivals)
        for rivals in claims.values()
        if len(rivals) > 1
    ]


def _cell_name(run: ScoredRun) -> str:
    s = run.record.settings
    return f"{s.protocol_label}, {s.method}, {s.backbone}, {s.way}-way {s.shot}-shot, fold {s.fold}, seed {s.seed}"


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
