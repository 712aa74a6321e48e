"""The rows of a table, and what each must say of its runs, so that a reader can tell it from the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fsseg_bench.records.settings import ShownSettings
from fsseg_bench.registry import cards
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row, group_runs, images_words, settings_text
from fsseg_bench.report.recipes import what_differs
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.words import always, checkpoints, given_list, natural


def group_rows(runs: Sequence[ScoredRun], collection: Collection, *, all_given: bool = False) -> list[Row]:
    """Rows for ``runs`` of one table, sorted by backbone, method and variant.

    Two runs that claim one cell are never merged or dropped: each gets a row of its own, which says what
    distinguishes it. With ``all_given`` rows say every setting that was given explicitly, and not only those in which
    they differ.
    """
    groups = group_runs(runs, collection)
    same_name: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for group in groups:
        same_name[group.method, group.backbone].append(group)
    labels = _Labels(runs, all_given)
    rows = [
        replace(
            group,
            variant=labels.variant(group, same_name[group.method, group.backbone]),
            evaluated=labels.evaluated(group),
        )
        for group in groups
    ]
    return sorted(
        _distinct(rows, collection), key=lambda row: (natural(row.backbone), natural(row.method), natural(row.variant))
    )


def reconstructions() -> frozenset[str]:
    """Methods whose card says that they were built from too little to be the original.

    Raises:
        UserError: as :func:`fsseg_bench.registry.cards`.
    """
    return frozenset(card.name for card in cards() if card.fidelity == "reconstruction")


class _Labels:
    """Makes the labels of the rows of a table's runs."""

    def __init__(self, runs: Sequence[ScoredRun], all_given: bool) -> None:
        self._reconstructions = reconstructions() if runs else frozenset()
        self._all_given = all_given
        self._several_data = len({run.record.settings.data_fingerprint for run in runs}) > 1
        seen: dict[str, set[str]] = defaultdict(set)
        for run in runs:
            seen[run.record.settings.episode_digest].add(images_words(run))
        several = [run for run in runs if len(seen[run.record.settings.episode_digest]) > 1]
        self._images = {run.record.folder: images_words(run) for run in several}

    def variant(self, row: Row, others: Iterable[Row]) -> str:
        """What a row says beside its method and backbone; ``others`` have these in common with it."""
        settings = row.settings
        owner = row.all_runs[0].record.owner
        parts = [f"by {owner}"] if owner else []
        parts += ["reconstruction"] if settings.method in self._reconstructions else []
        parts += [*always(settings), checkpoints(run.record.settings for run in row.all_runs)]
        for key in sorted(self._stated(row, others)):
            parts.append(f"{key.removeprefix('recipe.').removeprefix('switches.')}={row.value(key)}")
        parts += [*(at_shot.label for at_shot in row.shots), *self.evaluated(row)]
        return "; ".join(dict.fromkeys(filter(None, parts)))

    def evaluated(self, row: Row) -> tuple[str, ...]:
        """Which images the runs of a row saw, where other runs saw others in the same episodes; else nothing."""
        return tuple(sorted({self._images[f] for run in row.all_runs if (f := run.record.folder) in self._images}))

    def _stated(self, row: Row, others: Iterable[Row]) -> set[str]:
        """The settings that the row must state: those in which it differs from others, or among its shots."""
        stated = row.within().union(*(row.against(other) for other in others))
        if self._all_given:
            stated |= row.given()
        if self._several_data:
            stated.add("data_fingerprint")
        if row.settings.parameters in {"untrained", "unknown"}:
            stated.discard("recipe.iterations")
        if "weights" in stated:
            stated.discard("weights_digest")
        return stated


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
        claims[settings_text(key | {"given": given_list(run.record), "owner": run.record.owner})].append(run)
    lines = []
    for rivals in claims.values():
        s, paths = rivals[0].record.settings, ", ".join(collection.path(run.record) for run in rivals)
        cell = f"{s.protocol_label}, {s.method}, {s.backbone}, {s.way}-way {s.shot}-shot, fold {s.fold}, seed {s.seed}"
        if len(rivals) > 1:
            lines.append(f"{cell}: {len(rivals)} records claim this cell, each is listed: {paths}")
    return lines


def _distinct(rows: Sequence[Row], collection: Collection) -> list[Row]:
    """``rows``, with the first record's folder added where the variants alone do not tell them apart."""
    names = [(row.method, row.backbone, row.variant) for row in rows]
    made = []
    for row, name in zip(rows, names, strict=True):
        folder = f"record {collection.path(row.all_runs[0].record)}" if names.count(name) > 1 else ""
        made.append(replace(row, variant="; ".join(filter(None, (row.variant, folder)))))
    return made
