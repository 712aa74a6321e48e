"""What was measured under the same rules, best first, and what is known of each two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from fsseg_bench.protocol.paired import Difference, overall_differences, overall_scores
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.significance import holm
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import FoldCounts, Metric
from fsseg_bench.records.settings import OF_A_FOLD
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.compare import Adjusted
from fsseg_bench.report.grouping import Row, settings_text
from fsseg_bench.report.html.runs import Group

_ALL_PAIRS = 12  # rows; of more, only the best is paired with all and each with the next
_RESAMPLES = 2_000  # where intervals are over episodes alone: a fraction of a second a pair
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


@dataclass(frozen=True)
class Standing:
    """An entrant's score: the mean over folds and training seeds, percent."""

    entrant: Entrant
    value: float
    low: float | None
    """Lower end of the 95 % interval; None where there is none."""
    high: float | None
    trainings: tuple[float, ...]
    """The score with each training seed."""


class Pair(NamedTuple):
    """What is known of two entrants."""

    better: int
    """Its place in the order."""
    other: int
    found: Adjusted
    """The better one minus the other, in [0, 1]; p is corrected for all pairs of the contest."""

    @property
    def state(self) -> str:
        """``shown``, ``corrected`` (not after the correction for the other pairs) or ``open``."""
        difference = self.found.difference
        if difference.low is None or difference.low <= 0 <= (difference.high or 0):
            return "open"
        return "shown" if self.found.p_holm is not None and self.found.p_holm < 0.05 else "corrected"


@dataclass(frozen=True)
class Contest:
    """The entrants of one protocol, number of ways and shot, mostly of one backbone."""

    group: Group
    shot: int
    backbone: str
    """Empty where there are several."""
    folds: tuple[int, ...]
    """The folds that the scores are over."""
    whole: bool
    """Whether these are all folds of the protocol."""
    standings: tuple[Standing, ...]
    """Best first."""
    pairs: Mapping[tuple[int, int], Pair] = field(repr=False)
    """By places in the order, the better one first."""
    family: int
    """The number of all pairs, for which p-values are corrected."""
    over_images: bool
    """Whether intervals and p-values are over images and episodes, or over episodes alone."""
    left_out: tuple[str, ...]
    """Entrants without the folds."""

    @property
    def title(self) -> str:
        """What is compared, plain text."""
        return f"{self.group.title}, {self.shot}-shot, {self.backbone or 'several backbones'}"

    @property
    def runs(self) -> list[ScoredRun]:
        """The runs that the scores are of."""
        own = [standing.entrant.folds for standing in self.standings]
        return [run for folds in own for fold in self.folds for run in folds[fold]]

    def name(self, place: int) -> str:
        """What an entrant is called here, plain text."""
        entrant = self.standings[place].entrant
        return entrant_name(entrant, with_backbone=not self.backbone)


def entrant_name(entrant: Entrant, *, with_backbone: bool) -> str:
    """The method, its backbone where asked for, and what tells it from others."""
    name = f"{entrant.method} on {entrant.rows[0].backbone}" if with_backbone else entrant.method
    return f"{name} ({entrant.variant})" if entrant.variant else name


def contests(
    found: Sequence[Group], collection: Collection, metric: Metric, resolution: Resolution | None
) -> list[Contest]:
    """Everything that can be put in an order; those with several entrants first.

    Backbones are kept apart unless none of them has two entrants. So are entrants that saw other images or episodes.
    """
    made = [
        _contest(group, shot, members, collection, metric, resolution)
        for group in found
        for shot in group.shots
        for members in _comparable(group, shot)
    ]
    return sorted(made, key=lambda contest: len(contest.standings) < 2)


def _comparable(group: Group, shot: int) -> Iterator[list[Entrant]]:
    by_backbone: dict[str, list[Entrant]] = defaultdict(list)
    for entrant in _entrants(group.rows, shot):
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


def _contest(
    group: Group,
    shot: int,
    entrants: Sequence[Entrant],
    collection: Collection,
    metric: Metric,
    resolution: Resolution | None,
) -> Contest:
    every = max((run.record.folds for entrant in entrants for runs in entrant.folds.values() for run in runs), key=len)
    folds = _common_folds(entrants, every)
    members = [entrant for entrant in entrants if set(folds) <= set(entrant.folds)]
    wanted = resolution or members[0].rows[0].settings.headline
    backbones = {entrant.rows[0].backbone for entrant in entrants}
    over_images = collection.intervals.kind == "images" and all(
        run.images is not None for entrant in members for fold in folds for run in entrant.folds[fold]
    )
    standings = _standings(members, folds, collection, metric, wanted, over_images)
    family = len(standings) * (len(standings) - 1) // 2
    return Contest(
        group=group,
        shot=shot,
        backbone=backbones.pop() if len(backbones) == 1 else "",
        folds=folds,
        whole=len(folds) == len(every),
        standings=standings,
        pairs=_pairs([s.entrant.counts(folds, wanted) for s in standings], family, metric, over_images),
        family=family,
        over_images=over_images,
        left_out=tuple(
            f"{entrant_name(entrant, with_backbone=len(backbones) > 1)}: fold {', '.join(map(str, entrant.folds))}"
            for entrant in entrants
            if entrant not in members
        ),
    )


def _common_folds(entrants: Sequence[Entrant], every: Sequence[int]) -> tuple[int, ...]:
    """All folds where two entrants have them; else those that most entrants share, as many as these have."""
    have = [frozenset(entrant.folds) for entrant in entrants]
    if sum(set(every) <= own for own in have) > min(1, len(have) - 1):
        return tuple(every)
    pairs = combinations(dict.fromkeys(have), 2)
    shared: list[frozenset[int]] = [some for some in (*have, *(a & b for a, b in pairs)) if some]

    def worth(some: frozenset[int]) -> tuple[int, int, list[int]]:
        return sum(some <= own for own in have), len(some), sorted(some)

    most = max(shared, key=worth)
    return tuple(sorted(most))


def _standings(
    entrants: Sequence[Entrant],
    folds: Sequence[int],
    collection: Collection,
    metric: Metric,
    resolution: Resolution,
    over_images: bool,
) -> tuple[Standing, ...]:
    made = []
    for entrant in entrants:
        of_seeds = list(zip(*(entrant.folds[fold] for fold in folds), strict=True))
        scores = tuple(100 * fmean(run.score(metric, resolution) for run in runs) for runs in of_seeds)
        standing = Standing(entrant, fmean(scores), None, None, scores)
        if len(of_seeds) == 1:
            interval = collection.intervals.of(of_seeds[0], metric, resolution).interval
        elif over_images:
            interval = overall_scores([entrant.counts(folds, resolution)], metric)[0].interval()
        else:
            interval = None
        made.append(replace(standing, low=100 * interval.low, high=100 * interval.high) if interval else standing)
    return tuple(sorted(made, key=lambda standing: -standing.value))


def _pairs(
    sides: Sequence[Sequence[Sequence[FoldCounts]]], family: int, metric: Metric, over_images: bool
) -> dict[tuple[int, int], Pair]:
    """What is known of the pairs, the better side first; where there are many, of the best and of neighbours."""
    several = len(sides) > _ALL_PAIRS or not over_images
    wanted = [(a, b) for a, b in combinations(range(len(sides)), 2) if not several or a == 0 or b == a + 1]
    if over_images:
        found = overall_differences(sides, [(b, a) for a, b in wanted], metric)
    else:
        wanted = [(a, b) for a, b in wanted if len(sides[a][0]) == len(sides[b][0])]
        found = [_by_episodes(sides[b], sides[a], metric) for a, b in wanted]
    known = [difference.p for difference in found if difference.p is not None]
    adjusted = iter(holm([*known, *[1.0] * (family - len(known))]))
    return {
        (a, b): Pair(a, b, Adjusted(difference, None if difference.p is None else next(adjusted)))
        for (a, b), difference in zip(wanted, found, strict=True)
    }


def _by_episodes(
    baseline: Sequence[Sequence[FoldCounts]], other: Sequence[Sequence[FoldCounts]], metric: Metric
) -> Difference:
    return paired_by_episodes(baseline, other, resamples=_RESAMPLES, seed=0).scores[metric].overall
