"""A comparison as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from fsseg_bench.protocol.statistics import METRICS, IntervalKind, Metric
from fsseg_bench.report.compare import Adjusted, Comparison, Versus
from fsseg_bench.report.compare_cells import (
    POWER,
    images_a_class,
    label_cells,
    number_cells,
    power_cells,
    power_of,
    spread_cell,
)
from fsseg_bench.report.compare_words import comparison_remarks, setting_words
from fsseg_bench.report.intervals import OVER, span
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.words import METRIC_NAMES

_NUMBERS = ("difference", "interval", "p", "p (Holm)")
_Rows = list[tuple[Cell, ...]]


def compare_tables(comparison: Comparison, power: float | None = None) -> tuple[Table, ...]:
    """Differences, per-class differences, training seeds where there are several, and power where it is asked for.

    ``power`` is the difference to resolve, in percent points.
    """
    tables = [*_differences(comparison), *_classes(comparison)]
    if max(map(len, comparison.seeds)) > 1:
        tables += _seeds(comparison)
    if power is not None:
        tables.append(_power(comparison, power))
    return tuple(tables)


def overall_name(folds: Sequence[int], all_folds: Sequence[int], whole: str = "mean") -> str:
    """What the mean over ``folds`` is called: ``whole`` only where all folds of the protocol are in it."""
    if len(folds) == 1:
        return f"fold {folds[0]} alone" if len(all_folds) > 1 else "the only fold"
    return whole if list(folds) == list(all_folds) else f"mean of folds {', '.join(map(str, folds))}"


def _overall_name(comparison: Comparison) -> str:
    return overall_name(comparison.folds, comparison.baseline.example.folds)


def _differences(comparison: Comparison) -> list[Table]:
    label, first = comparison.baseline.settings.protocol_label, comparison.baseline.label
    heads, title = ("method", "metric", "folds"), f"{label}: differences from {first}"
    caption = (
        f"{setting_words(comparison)}. Percent; difference: the method minus {first}, with its "
        f"{100 * comparison.level:g} % paired interval {OVER[comparison.interval]}."
    )
    made = []
    for i, versus in enumerate(comparison.versus):
        rows = [
            (*label_cells(versus.other.label, METRIC_NAMES[metric], where), *number_cells(adjusted))
            for metric in METRICS
            for where, adjusted in places(comparison, versus, metric)
        ]
        made.append(_table(comparison, "differences", title, heads, _NUMBERS, rows, caption, i))
    made[0] = replace(made[0], remarks=tuple(map(printable, comparison_remarks(comparison))))
    return made


def places(comparison: Comparison, versus: Versus, metric: Metric) -> list[tuple[str, Adjusted]]:
    """What is compared, in reading order: each fold and, where there are several, their mean."""
    folds = [(f"fold {f}", adjusted) for f, adjusted in zip(comparison.folds, versus.folds[metric], strict=True)]
    overall = [(_overall_name(comparison), versus.overall[metric])]
    return [*folds, *overall] if len(folds) > 1 else folds


def _classes(comparison: Comparison) -> list[Table]:
    names, heads = comparison.class_names, ("method", "fold", "class")
    title = f"{comparison.baseline.settings.protocol_label}: IoU by class"
    caption = (
        f"{setting_words(comparison)}. Percent, for each held-out class; intervals as for the folds. p (Holm): "
        f"corrected for the {len(names)} classes of all folds."
    )
    made = []
    for i, versus in enumerate(comparison.versus):
        rows = [
            (*label_cells(versus.other.label, f"fold {fold}", names[c]), *number_cells(adjusted))
            for fold, classes in zip(comparison.folds, versus.classes, strict=True)
            for c, adjusted in classes.items()
        ]
        made.append(_table(comparison, "classes", title, heads, _NUMBERS, rows, caption, i))
    return made


def _seeds(comparison: Comparison) -> list[Table]:
    title = f"{comparison.baseline.settings.protocol_label}: over training seeds"
    caption = (
        f"Percent, {_overall_name(comparison)}: mean ± standard deviation (n - 1) over the training seeds "
        f"{', '.join(map(str, comparison.seeds[0]))}: the spread of training again, which other intervals leave out."
    )
    made = []
    for i, versus in enumerate(comparison.versus):
        rows = [
            (*label_cells(versus.other.label, METRIC_NAMES[metric]), *map(spread_cell, vars(spread).values()))
            for metric, spread in versus.seeds.items()
        ]
        made.append(_table(comparison, "seeds", title, ("method", "metric"), ("difference",), rows, caption, i))
    return made


def _power(comparison: Comparison, wanted: float) -> Table:
    crossed = comparison.interval == "images"
    rows = [
        (
            *label_cells(versus.other.label, METRIC_NAMES[metric], where),
            *power_cells(adjusted, power_of(comparison, adjusted, wanted / 100, fold), crossed),
        )
        for versus in comparison.versus
        for metric in METRICS
        for (where, adjusted), fold in zip_longest(places(comparison, versus, metric), range(len(comparison.folds)))
    ]
    now = span(round(count) for count in images_a_class(comparison)) if crossed else ""
    heads = ["standard error", f"resolvable with {max(comparison.episodes):,}", "episodes a fold"]
    if crossed:
        heads[2:2] = ["with any number of episodes"]
        heads.append(f"images a class (now {now})")
    return _table(
        comparison,
        "power",
        f"What resolves a difference of {wanted:g} percentage point{'s' * (wanted != 1)}",
        ("method", "metric", "folds"),
        heads,
        rows,
        f"Percent points. A true difference of the resolvable size is found ({100 * comparison.level:g} % level, "
        f"two-sided) {100 * POWER:g} times in 100.",
        remarks=(_POWER_WORDS[comparison.interval],),
    )


_POWER_WORDS: dict[IntervalKind, str] = {
    "images": (
        "From the observed paired standard error. More episodes of the same images reduce only the part of it that "
        "episodes make; what their number cannot resolve, other images can: the last column is how many a class, with "
        "as many episodes of each as now."
    ),
    "episodes": (
        "From the observed paired standard error over episodes, which falls with the square root of their number. More "
        "episodes of the same images never replace other images."
    ),
}


def _table(
    comparison: Comparison,
    name: str,
    title: str,
    labels: Sequence[str],
    numbers: Sequence[str],
    rows: _Rows,
    caption: str,
    place: int | None = None,
    remarks: tuple[str, ...] = (),
) -> Table:
    """A table of the contender at ``place``, whose heading and the baseline's are their names; None: of all."""
    if place is not None:
        other = comparison.versus[place].other.label
        numbers = (comparison.baseline.label, other, *numbers)
        if len(comparison.versus) > 1:
            name, title = f"{name}-{place + 1}", f"{title}, {other}"
    settings = comparison.baseline.settings
    return Table(
        name=f"compare-{name}",
        title=printable(title),
        caption=printable(caption).strip(),
        columns=tuple(
            Column(
                ("", printable(head)),
                {} if i < len(labels) else {"quantity": printable(head)},
                spare=_spare(i - len(labels), head, place is not None),
            )
            for i, head in enumerate((*labels, *numbers))
        ),
        labels=len(labels),
        rows=tuple(rows),
        facts={
            "protocol_label": printable(settings.protocol_label),
            "protocol_digest": settings.protocol_digest,
            "baseline": printable(comparison.baseline.label),
            "resolution": comparison.resolution,
        },
        remarks=remarks,
    )


def _spare(place: int, head: str, versus: bool) -> int:
    """What can be left out where there is no space: the p-value that is not corrected, then the two scores."""
    return 0 if not versus or place < 0 else 2 if head == "p" else 1 if place < 2 else 0
