"""Mean-IoU against the number of inner steps (the BiOpt paper's Figure 5), from sweeps of trained runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.intervals import Score, bootstrap_intervals, image_estimates
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Interval, IntervalKind, Metric
from fsseg_bench.records.read import EpisodeCounts
from fsseg_bench.records.sweep import Sweep, find_sweep
from fsseg_bench.report.compare_tables import overall_name
from fsseg_bench.report.contender import Contender, single_seed
from fsseg_bench.report.figures.canvas import OVER, colour, label, middle, new_figure, tidy
from fsseg_bench.report.scored import ScoredRun, score_runs
from fsseg_bench.report.words import METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWITCH = "steps"
"""The switch that is swept."""
ZERO_NOTE = "hollow: that model without a step; the paper's point at 0 is another model, its baseline"
"""What every such figure says."""
_APART = 0.16  # between the points at 0 steps
STEPS = tuple(range(11))
"""What the paper's figure shows: 0 to 10."""


@dataclass(frozen=True)
class StepsCurve:
    """One method's scores, the mean over its folds, in [0, 1]."""

    name: str
    folds: tuple[int, ...]
    whose: str
    """What the mean over them is called."""
    steps: tuple[int, ...]
    """Ascending."""
    scores: tuple[float, ...]
    intervals: tuple[Interval | None, ...]
    """95 %, of each score; None where there is none."""
    over: IntervalKind
    """What they are over."""


@dataclass(frozen=True)
class OtherModel:
    """The score of another model that stands beside the curves."""

    name: str
    score: float
    interval: Interval | None


def steps_curve(contender: Contender, metric: Metric = "mean") -> StepsCurve:
    """The curve of a contender whose runs all have a sweep; the step numbers are those that all sweeps have.

    Raises:
        UserError: a run without a whole sweep (names them), a damaged one, or none in common.
    """
    runs = single_seed(contender)
    sweeps = {fold: find_sweep(run, SWITCH) for fold, run in runs.items()}
    if missing := [str(runs[fold].folder) for fold, found in sweeps.items() if found is None]:
        raise UserError(f"no whole sweep of {SWITCH} in {', '.join(missing)}; add --sweep to make it")
    whole = {fold: found for fold, found in sweeps.items() if found is not None}
    steps = sorted(set.intersection(*(set(map(int, found.values)) for found in whole.values())))
    if not steps:
        raise UserError(f"{contender.label}: its sweeps have no number of {SWITCH} in common; add --sweep")
    resolution = contender.settings.headline
    scored = score_runs(runs[fold] for fold in whole)
    swept = [[_swept(run, whole[run.record.fold], step) for run in scored] for step in steps]
    return StepsCurve(
        contender.label,
        tuple(whole),
        overall_name(tuple(whole), contender.example.folds, "mean of all folds"),
        tuple(steps),
        tuple(fmean(run.score(metric, resolution) for run in folds) for folds in swept),
        *_intervals(swept, metric, resolution),
    )


def other_model(contender: Contender, folds: Sequence[int], metric: Metric = "mean") -> OtherModel:
    """The recorded score of another contender, the mean over ``folds``.

    Raises:
        UserError: it lacks one of the folds, or a record is damaged.
    """
    runs = single_seed(contender)
    if lacking := sorted(set(folds) - set(runs)):
        raise UserError(f"{contender.label}: fold {', '.join(map(str, lacking))} is missing; run it")
    resolution = contender.settings.headline
    scored = score_runs(runs[fold] for fold in folds)
    (interval,), _ = _intervals([scored], metric, resolution)
    return OtherModel(contender.label, fmean(run.score(metric, resolution) for run in scored), interval)


def _swept(run: ScoredRun, sweep: Sweep, step: int) -> ScoredRun:
    """The run as it would be with ``step`` steps."""
    i = [int(value) for value in sweep.values].index(step)
    return ScoredRun(run.record, EpisodeCounts(run.counts.classes, sweep.input[i], sweep.native[i]), run.images)


def _intervals(
    runs: Sequence[Sequence[ScoredRun]], metric: Metric, resolution: Resolution
) -> tuple[tuple[Interval | None, ...], IntervalKind]:
    """Over images and episodes where all images are known, else over episodes alone."""
    scores = [Score([run.fold_counts(resolution) for run in folds], metric) for folds in runs]
    if all(fold.images is not None for score in scores for fold in score.folds):
        return tuple(found.interval() for found in image_estimates(scores)), "images"
    return tuple(bootstrap_intervals(scores)), "episodes"


def steps_figure(curves: Sequence[StepsCurve], other: OtherModel | None, about: str, metric: Metric = "mean") -> Figure:
    """Curves over 1 and more steps; the point of 0 steps hollow and unconnected.

    The ``other`` model is the one that the paper's figure has at 0 steps, trained without an inner loop.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for i, curve in enumerate(curves):
        _draw_curve(axes, curve, i, place_of_zero=_APART * (i - (len(curves) - 1) / 2))
    if other is not None:
        _draw_bar(axes, -0.5, other.interval, "black")
        name = label(f"{other.name}, as the paper draws at 0")
        axes.plot(-0.5, 100 * other.score, "x", color="black", markersize=8, label=name)
    axes.axvline(0.5, color="grey", linewidth=0.8, linestyle=":")
    folds = sorted({curve.folds for curve in curves})
    whose = curves[0].whose if len(folds) == 1 else "mean of each method's folds"
    over = " or ".join(sorted({OVER[curve.over] for curve in curves}))
    axes.set_xlabel(f"inner steps at test time, one trained model each\n{ZERO_NOTE}\n95 % {over}", fontsize=9)
    axes.set_ylabel(f"{METRIC_NAMES[metric]} (%), {whose}")
    axes.set_xticks(sorted({step for curve in curves for step in curve.steps}))
    axes.set_title(label(about), fontsize=10)
    axes.legend(fontsize=8)
    tidy(axes)
    return figure


def _draw_curve(axes: Axes, curve: StepsCurve, i: int, place_of_zero: float) -> None:
    points: Mapping[int, tuple[float, Interval | None]] = {
        step: (100 * score, interval)
        for step, score, interval in zip(curve.steps, curve.scores, curve.intervals, strict=True)
    }
    later = [step for step in curve.steps if step > 0]
    axes.plot(later, [points[s][0] for s in later], "o-", color=colour(i), markersize=4, label=label(curve.name))
    lows, highs = ([100 * (own[end] if (own := points[s][1]) else math.nan) for s in later] for end in (0, 1))
    axes.fill_between(later, lows, highs, color=colour(i), alpha=0.15, linewidth=0)
    if 0 in points:
        score, interval = points[0]
        _draw_bar(axes, place_of_zero, interval, colour(i))
        axes.plot(place_of_zero, score, "o", color=colour(i), markerfacecolor="white", markersize=6)


def _draw_bar(axes: Axes, at: float, interval: Interval | None, shade: str) -> None:
    if interval is None:
        return
    centre, half = middle(interval.low, interval.high)
    axes.errorbar(at, 100 * centre, yerr=100 * half, fmt="none", color=shade, capsize=3)
