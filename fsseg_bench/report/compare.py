"""``compare``: contenders against a baseline over the same episodes. Numbers only; tables are in ``compare_tables``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages, few_in_folds
from fsseg_bench.protocol.paired import Difference, PairedResult, paired_by_images
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.significance import SeedSpread, holm, seed_spread
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, IntervalKind, Metric
from fsseg_bench.records.info import TABLE_FILE
from fsseg_bench.report.contender import Contender, also_different, match
from fsseg_bench.report.intervals import HOW_TO_WRITE_TABLE, class_names
from fsseg_bench.report.scored import ScoredRun, score_runs

TOO_FEW = "nothing to compare; name a baseline and at least one other"
_Runs = tuple[tuple[ScoredRun, ...], ...]
"""Folds, then seeds."""


@dataclass(frozen=True)
class Adjusted:
    """A difference with its p-value corrected for the family it was tested in."""

    difference: Difference
    p_holm: float | None
    """None where there is no p-value."""


@dataclass(frozen=True)
class SeedSpreads:
    """Scores of the mean over the folds, over training seeds."""

    baseline: SeedSpread
    other: SeedSpread
    difference: SeedSpread | None
    """Seed by seed; None where the two sides were trained with different seeds."""


@dataclass(frozen=True)
class Versus:
    """One contender against the baseline."""

    other: Contender
    overall: Mapping[Metric, Adjusted]
    """Of the mean over the folds; corrected for the number of contenders."""
    folds: Mapping[Metric, tuple[Adjusted, ...]]
    """In the order of the comparison's folds; corrected for the number of contenders, fold by fold."""
    classes: tuple[Mapping[int, Adjusted], ...]
    """IoU by fold and class; corrected for the number of classes of all folds."""
    seeds: Mapping[Metric, SeedSpreads]
    differs: tuple[str, ...]
    """Settings beside the method's own that differ, as ``name: baseline / other``."""


@dataclass(frozen=True)
class Comparison:
    """Everything that ``compare`` found."""

    baseline: Contender
    versus: tuple[Versus, ...]
    folds: tuple[int, ...]
    """The folds that all contenders have."""
    seeds: tuple[tuple[int, ...], ...]
    """The training seeds used of each contender, the baseline first."""
    episodes: tuple[int, ...]
    """How many each fold has."""
    digests: tuple[str, ...]
    """The episode digest of each fold."""
    resolution: Resolution
    level: float
    interval: IntervalKind
    """What intervals and p-values are over."""
    images: tuple[EpisodeImages | None, ...]
    """Of each fold; None where they are not known."""
    resamples: int
    """Of bootstrap and randomisation, where intervals are over episodes alone."""
    notes: tuple[str, ...]
    """What was left out, and where there are few episodes or images."""

    @property
    def class_names(self) -> Mapping[int, str]:
        """Names of the held-out classes of all folds."""
        runs = (next(iter(self.baseline.runs[fold].values())) for fold in self.folds)
        return {c: class_names(run).get(c, str(c)) for run in runs for c in run.novel}


def compare(
    contenders: Sequence[Contender],
    *,
    resolution: Resolution | None = None,
    interval: IntervalKind = "images",
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compares all contenders with the first.

    Args:
        contenders: at least two, from :func:`fsseg_bench.report.select.select`.
        resolution: where pixels are counted; None takes the protocol's headline.
        interval: what intervals and p-values are over: ``"images"`` and episodes, or ``"episodes"`` of the same images.
            Where a fold's images are not known it is episodes, and a note says so.
        resamples: of bootstrap and randomisation over episodes.
        level: of the intervals.
        seed: of the resampling.

    Raises:
        UserError: fewer than two contenders; protocols, data or episodes that differ (the message names both
            digests); no fold or no training seed in common; a damaged record.
    """
    if len(contenders) < 2:
        raise UserError(TOO_FEW)
    folds, seeds, notes = match(contenders)
    runs = _scored(contenders, folds, seeds)
    resolution = resolution or contenders[0].settings.headline
    counts = [[[run.fold_counts(resolution) for run in at_fold] for at_fold in folds_of] for folds_of in runs]
    images = tuple(at_fold[0].images for at_fold in runs[0])
    kind, unknown = _kind(interval, images, folds)
    paired = partial(paired_by_episodes, resamples=resamples, seed=seed) if kind == "episodes" else paired_by_images
    results = [paired(counts[0], at_fold, level=level) for at_fold in counts[1:]]
    return Comparison(
        baseline=contenders[0],
        versus=_versus(contenders, results, seeds, runs, resolution),
        folds=folds,
        seeds=seeds,
        episodes=tuple(len(at_fold[0].counts.classes) for at_fold in runs[0]),
        digests=tuple(at_fold[0].record.settings.episode_digest for at_fold in runs[0]),
        resolution=resolution,
        level=level,
        interval=kind,
        images=images,
        resamples=resamples,
        notes=(*notes, *unknown, *_few(runs[0])),
    )


def _kind(
    wanted: IntervalKind, images: Sequence[EpisodeImages | None], folds: Sequence[int]
) -> tuple[IntervalKind, list[str]]:
    """What intervals can be over, and what to say where that is not what was wanted."""
    unknown = [fold for fold, known in zip(folds, images, strict=True) if known is None]
    if wanted == "episodes" or not unknown:
        return wanted, []
    listing = ", ".join(map(str, unknown))
    return "episodes", [
        f"no record of fold {listing} has an {TABLE_FILE}, so its images are not known: all intervals and "
        f"p-values are over episodes alone and too optimistic. {HOW_TO_WRITE_TABLE}"
    ]


def _few(runs: _Runs) -> list[str]:
    known = {f"fold {at_fold[0].record.fold}": at_fold[0].images for at_fold in runs}
    return few_in_folds({name: images for name, images in known.items() if images is not None})


def _scored(contenders: Sequence[Contender], folds: Sequence[int], seeds: Sequence[Sequence[int]]) -> list[_Runs]:
    """The runs of each contender with their counts; what one record knows of the images serves all."""
    by_contender = list(zip(contenders, seeds, strict=True))
    scored = iter(score_runs(c.runs[fold][seed] for c, used in by_contender for fold in folds for seed in used))
    return [tuple(tuple(next(scored) for _ in used) for _ in folds) for _, used in by_contender]


def _versus(
    contenders: Sequence[Contender],
    results: Sequence[PairedResult],
    seeds: Sequence[Sequence[int]],
    runs: Sequence[_Runs],
    resolution: Resolution,
) -> tuple[Versus, ...]:
    overall = {m: _family([r.scores[m].overall for r in results]) for m in METRICS}
    by_fold = {m: [_family(fold) for fold in zip(*(r.scores[m].folds for r in results), strict=True)] for m in METRICS}
    scores = {m: [_by_seed(of_folds, m, resolution) for of_folds in runs] for m in METRICS}
    return tuple(
        Versus(
            other=contenders[i + 1],
            overall={m: overall[m][i] for m in METRICS},
            folds={m: tuple(fold[i] for fold in by_fold[m]) for m in METRICS},
            classes=_classes(result),
            seeds={m: _spreads(scores[m][0], scores[m][i + 1], seeds[0] == seeds[i + 1]) for m in METRICS},
            differs=tuple(also_different(contenders[0], contenders[i + 1])),
        )
        for i, result in enumerate(results)
    )


def _family(differences: Sequence[Difference]) -> list[Adjusted]:
    """The differences, corrected for one another."""
    adjusted = iter(holm([d.p for d in differences if d.p is not None]))
    return [Adjusted(d, None if d.p is None else next(adjusted)) for d in differences]


def _classes(result: PairedResult) -> tuple[Mapping[int, Adjusted], ...]:
    family = iter(_family([d for at_fold in result.classes for d in at_fold.values()]))
    return tuple({c: next(family) for c in at_fold} for at_fold in result.classes)


def _by_seed(runs: _Runs, metric: Metric, resolution: Resolution) -> list[float]:
    """The mean over the folds for each training seed."""
    return [fmean(run.score(metric, resolution) for run in of_seed) for of_seed in zip(*runs, strict=True)]


def _spreads(baseline: Sequence[float], other: Sequence[float], same_seeds: bool) -> SeedSpreads:
    differences = seed_spread([b - a for a, b in zip(baseline, other, strict=True)]) if same_seeds else None
    return SeedSpreads(seed_spread(baseline), seed_spread(other), differences)
