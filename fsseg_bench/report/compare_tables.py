"""A comparison as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fsseg_bench.protocol.significance import SeedSpread, episodes_needed, resolvable
from fsseg_bench.protocol.spec import FOLDS
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.compare import METRICS, Adjusted, Comparison, Versus
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable

METRIC_NAMES: dict[Metric, str] = {"mean": "mean-IoU", "binary": "binary-IoU"}
_POWER = 0.8
_NUMBERS = ("difference", "interval", "p", "p (Holm)")
_AS_ABOVE = "As above."


class Power(NamedTuple):
    """What a comparison can resolve, with a power of 80 %."""

    resolvable: float
    """The true difference, in 0..1, that the episodes at hand find."""
    episodes: int | None
    """Episodes a fold that find the difference asked for; None where nothing varied."""


def compare_tables(comparison: Comparison, power: float | None = None) -> tuple[Table, ...]:
    """Differences, per-class differences, training seeds where there are several, and power where it is asked for.

    Args:
        comparison: from :func:`fsseg_bench.report.compare.compare`.
        power: the difference to resolve, in percent points.
    """
    tables = [*_differences(comparison), *_classes(comparison)]
    if max(map(len, comparison.seeds)) > 1:
        tables += _seeds(comparison)
    if power is not None:
        tables.append(_power(comparison, power))
    return tuple(tables)


def overall_name(folds: Sequence[int], whole: str = "mean") -> str:
    """What the mean over ``folds`` is called: ``whole`` only where all four are in it."""
    if len(folds) == 1:
        return f"fold {folds[0]} alone"
    return whole if tuple(folds) == FOLDS else f"mean of folds {', '.join(map(str, folds))}"


def _differences(comparison: Comparison) -> list[Table]:
    rows = [
        [
            (*_texts(versus.other.label, METRIC_NAMES[metric], where), *_number_cells(own))
            for metric in METRICS
            for where, own in places(comparison, versus, metric)
        ]
        for versus in comparison.versus
    ]
    label, first = comparison.baseline.settings["protocol_label"], comparison.baseline.label
    return _one_for_each(
        comparison,
        "differences",
        f"{label}: differences from {first}",
        ("method", "metric", "folds"),
        _NUMBERS,
        rows,
        f"{_setting(comparison)} Percent; a difference is the method minus {first}, in percent points, with its "
        f"{100 * comparison.level:g} % paired bootstrap interval over episodes, stratified by class. p: two-sided "
        f"approximate randomisation over episodes, {comparison.resamples:,} resamples. p (Holm): corrected for the "
        f"{len(comparison.versus)} methods compared with {first}, line by line. Intervals and p-values are about "
        f"the draw of episodes; they do not cover training again. {_told(comparison)}",
    )


def places(comparison: Comparison, versus: Versus, metric: Metric) -> list[tuple[str, Adjusted]]:
    """What is compared, in reading order: each fold and, where there are several, their mean."""
    folds = [(f"fold {f}", own) for f, own in zip(comparison.folds, versus.folds[metric], strict=True)]
    overall = [(overall_name(comparison.folds), versus.overall[metric])]
    return [*folds, *overall] if len(folds) > 1 else folds


def _setting(comparison: Comparison) -> str:
    settings = comparison.baseline.settings
    episodes = sorted(set(comparison.episodes))
    count = f"{episodes[0]:,}" if len(episodes) == 1 else f"{episodes[0]:,} to {episodes[-1]:,}"
    digests = ", ".join(
        f"fold {f} {digest[:8]}" for f, digest in zip(comparison.folds, comparison.digests, strict=True)
    )
    where = "the protocol's input size" if comparison.resolution == "input" else "the images' own size"
    return (
        f"{settings['way']}-way {settings['shot']}-shot, {count} episodes a fold (digests: {digests}), pixels counted "
        f"at {where}."
    )


def _told(comparison: Comparison) -> str:
    """What was left out, and what differs beside the methods."""
    lines = [*comparison.notes]
    lines += [
        f"{comparison.baseline.label} and {versus.other.label} also differ in {'; '.join(versus.differs)}"
        for versus in comparison.versus
        if versus.differs
    ]
    return " ".join(f"Note: {line}." for line in lines)


def _classes(comparison: Comparison) -> list[Table]:
    names = comparison.class_names
    rows = [
        [
            (*_texts(versus.other.label, f"fold {fold}", names[c]), *_number_cells(own))
            for fold, classes in zip(comparison.folds, versus.classes, strict=True)
            for c, own in classes.items()
        ]
        for versus in comparison.versus
    ]
    return _one_for_each(
        comparison,
        "classes",
        f"{comparison.baseline.settings['protocol_label']}: IoU by class",
        ("method", "fold", "class"),
        _NUMBERS,
        rows,
        "As above, for each held-out class. p (Holm): corrected for the number of classes of all folds, method by "
        "method.",
    )


def _seeds(comparison: Comparison) -> list[Table]:
    rows = []
    for versus in comparison.versus:
        spreads = {m: versus.seeds[m] for m in METRICS}
        rows.append(
            [
                (
                    *_texts(versus.other.label, METRIC_NAMES[metric]),
                    *map(_spread_cell, (own.baseline, own.other, own.difference)),
                )
                for metric, own in spreads.items()
            ]
        )
    return _one_for_each(
        comparison,
        "seeds",
        f"{comparison.baseline.settings['protocol_label']}: over training seeds",
        ("method", "metric"),
        ("difference",),
        rows,
        f"Percent, {overall_name(comparison.folds)}: mean ± standard deviation (n - 1) over the training seeds "
        f"{', '.join(map(str, comparison.seeds[0]))}. This is the spread of training again; the intervals above are "
        "about episodes and hold for these trainings.",
    )


def _power(comparison: Comparison, wanted: float) -> Table:
    rows = []
    for versus in comparison.versus:
        for metric in METRICS:
            for where, own in places(comparison, versus, metric):
                found = power_of(comparison, own, wanted / 100)
                needed = "nothing varied" if found.episodes is None else f"{found.episodes:,}"
                cells = (
                    Cell(f"{100 * own.difference.error:.3f}", 100 * own.difference.error),
                    Cell(f"{100 * found.resolvable:.2f}", 100 * found.resolvable),
                    Cell(needed, found.episodes),
                )
                rows.append((*_texts(versus.other.label, METRIC_NAMES[metric], where), *cells))
    return _table(
        comparison,
        "power",
        f"Episodes that resolve a difference of {wanted:g} percent points",
        ("method", "metric", "folds"),
        ("standard error", f"resolvable with {max(comparison.episodes):,}", "episodes a fold"),
        rows,
        f"Percent points. A true difference of the resolvable size is found ({100 * comparison.level:g} % level, "
        f"two-sided) {100 * _POWER:g} times in 100. From the observed paired standard error, which falls with the "
        "square root of the number of episodes. More episodes of the same images never replace other images.",
    )


def power_of(comparison: Comparison, own: Adjusted, difference: float) -> Power:
    """What it takes to resolve ``difference`` (0..1) where the observed one varied as ``own`` does."""
    error, episodes = own.difference.error, max(comparison.episodes)
    return Power(
        resolvable(error, level=comparison.level, power=_POWER),
        episodes_needed(error, episodes, difference, level=comparison.level, power=_POWER),
    )


def _one_for_each(
    comparison: Comparison,
    name: str,
    title: str,
    labels: Sequence[str],
    numbers: Sequence[str],
    rows: Sequence[Sequence[tuple[Cell, ...]]],
    caption: str,
) -> list[Table]:
    """A table for each contender: its heading and the baseline's are their names."""
    tables = []
    for place, (versus, own) in enumerate(zip(comparison.versus, rows, strict=True)):
        several = len(comparison.versus) > 1
        heads = (comparison.baseline.label, versus.other.label, *numbers)
        tables.append(
            _table(
                comparison,
                f"{name}-{place + 1}" if several else name,
                f"{title}, {versus.other.label}" if several else title,
                labels,
                tuple(map(printable, heads)),
                own,
                _AS_ABOVE if place else caption,
            )
        )
    return tables


def _table(
    comparison: Comparison,
    name: str,
    title: str,
    labels: Sequence[str],
    numbers: Sequence[str],
    rows: Sequence[tuple[Cell, ...]],
    caption: str,
) -> Table:
    settings = comparison.baseline.settings
    return Table(
        name=f"compare-{name}",
        title=printable(title),
        caption=printable(caption).strip(),
        columns=tuple(Column(("", head)) for head in (*labels, *numbers)),
        labels=len(labels),
        rows=tuple(rows),
        facts={
            "protocol_label": printable(settings["protocol_label"]),
            "protocol_digest": settings["protocol_digest"],
            "baseline": printable(comparison.baseline.label),
            "resolution": comparison.resolution,
        },
    )


def _texts(*texts: str) -> list[Cell]:
    return [Cell(printable(text)) for text in texts]


def _number_cells(own: Adjusted) -> list[Cell]:
    found = own.difference
    value, low, high = (100 * x for x in (found.value, found.low, found.high))
    return [
        Cell(f"{100 * found.baseline:.2f}", 100 * found.baseline),
        Cell(f"{100 * found.other:.2f}", 100 * found.other),
        Cell(f"{value:+.2f}", value, low, high),
        Cell(f"{low:+.2f} to {high:+.2f}", None, low, high),
        Cell(p_text(found.p), found.p),
        Cell(p_text(own.p_holm), own.p_holm),
    ]


def p_text(p: float) -> str:
    """A p-value as it is printed: never 0, since a randomisation cannot give less than 1 / (resamples + 1)."""
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _spread_cell(spread: SeedSpread | None) -> Cell:
    if spread is None:
        return Cell(MISSING, note="the two sides have different training seeds")
    if spread.deviation is None:
        return Cell(f"{100 * spread.mean:.2f}", 100 * spread.mean, note="one training seed")
    return Cell(f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f}", 100 * spread.mean)
