"""What was measured under the same rules, best first, and what is known of each two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean

from fsseg_bench.protocol.paired import overall_scores
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.html.entrants import Entrant, comparable, entrant_name
from fsseg_bench.report.html.pairs import Pair, all_pairs, compared
from fsseg_bench.report.html.runs import Group
from fsseg_bench.report.scored import ScoredRun


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


@dataclass(frozen=True)
class Contest:
    """The entrants of one protocol, number of ways and shot, mostly of one backbone."""

    group: Group
    shot: int
    backbone: str
    """Empty where there are several."""
    folds: tuple[int, ...]
    """The folds that the scores are over."""
    every: tuple[int, ...]
    """All folds of the protocol."""
    standings: tuple[Standing, ...]
    """Best first."""
    pairs: Mapping[tuple[int, int], Pair] = field(repr=False)
    """By places in the order, the better one first."""
    over_images: bool
    """Whether intervals and p-values are over images and episodes, or over episodes alone."""
    left_out: tuple[str, ...]
    """Entrants without the folds."""

    @property
    def family(self) -> int:
        """The number of all pairs of those compared, for which p-values are corrected."""
        return self.compared * (self.compared - 1) // 2

    @property
    def compared(self) -> int:
        """How many of the first are compared with one another."""
        return compared(len(self.standings), over_images=self.over_images)

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


def contests(
    found: Sequence[Group], collection: Collection, metric: Metric, resolution: Resolution | None
) -> list[Contest]:
    """Everything that can be put in an order; those with several entrants first."""
    made = [
        _contest(group, shot, members, collection, metric, resolution)
        for group in found
        for shot in group.shots
        for members in comparable(group.rows, shot)
    ]
    return sorted(made, key=lambda contest: len(contest.standings) < 2)


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
    return Contest(
        group=group,
        shot=shot,
        backbone=backbones.pop() if len(backbones) == 1 else "",
        folds=folds,
        every=tuple(every),
        standings=standings,
        pairs=all_pairs([s.entrant.counts(folds, wanted) for s in standings], metric, over_images=over_images),
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
