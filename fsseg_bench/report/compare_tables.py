"""A comparison as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fsseg_bench.protocol.significance import SeedSpread, episodes_needed, images_needed, resolvable
from fsseg_bench.protocol.statistics import IntervalKind, Metric
from fsseg_bench.report.compare import METRICS, Adjusted, Comparison, Versus
from fsseg_bench.report.image_words import images_words, span
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable

METRIC_NAMES: dict[Metric, str] = {"mean": "mean-IoU", "binary": "binary-IoU"}
_POWER = 0.8
_LEAST_P = 1e-6
_NUMBERS = ("difference", "interval", "p", "p (Holm)")
_AS_ABOVE = "As above."


class Power(NamedTuple):
    """What a comparison can resolve, with a power of 80 %."""

    resolvable: float
    """The true difference, in 0..1, that the images and episodes at hand find."""
    at_best: float | None
    """The one that any number of episodes of these images finds; None where images are taken as given."""
    episodes: int | None
    """Episodes a fold, of the same images, that find the difference asked for; None where no number does."""
    images: int | None
    """Images a class, with as many episodes of each as now, that find it; None where images are taken as given."""


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


def overall_name(folds: Sequence[int], all_folds: Sequence[int], whole: str = "mean") -> str:
    """What the mean over ``folds`` is called: ``whole`` only where all folds of the protocol are in it."""
    if len(folds) == 1:
        return f"fold {folds[0]} alone" if len(all_folds) > 1 else "the only fold"
    return whole if list(folds) == list(all_folds) else f"mean of folds {', '.join(map(str, folds))}"


def _overall_name(comparison: Comparison) -> str:
    return overall_name(comparison.folds, comparison.baseline.example.folds)


def _differences(comparison: Comparison) -> list[Table]:
    rows = [
        [
            (*_texts(versus.other.label, METRIC_NAMES[metric], where), *_number_cells(own))
            for metric in METRICS
            for where, own in places(comparison, versus, metric)
        ]
        for versus in comparison.versus
    ]
    label, first = comparison.baseline.settings.protocol_label, comparison.baseline.label
    return _one_for_each(
        comparison,
        "differences",
        f"{label}: differences from {first}",
        ("method", "metric", "folds"),
        _NUMBERS,
        rows,
        f"{_setting(comparison)} Percent; a difference is the method minus {first}, in percent points, with its "
        f"{100 * comparison.level:g} % paired interval {_over(comparison)} p (Holm): corrected for the "
        f"{len(comparison.versus)} methods compared with {first}, line by line. Neither interval nor p-value "
        f"covers training again. {_told(comparison)}",
    )


def _over(comparison: Comparison) -> str:
    """What intervals are over, and where p-values come from."""
    if comparison.interval == "images":
        return (
            "over images and episodes: how far the difference would move with other test images of the same kind. "
            "p: two-sided t test with the same standard error."
        )
    return (
        "over episodes alone (bootstrap, stratified by class), which says nothing about other images. p: two-sided "
        f"approximate randomisation over episodes, {comparison.resamples:,} resamples."
    )


def places(comparison: Comparison, versus: Versus, metric: Metric) -> list[tuple[str, Adjusted]]:
    """What is compared, in reading order: each fold and, where there are several, their mean."""
    folds = [(f"fold {f}", own) for f, own in zip(comparison.folds, versus.folds[metric], strict=True)]
    overall = [(_overall_name(comparison), versus.overall[metric])]
    return [*folds, *overall] if len(folds) > 1 else folds


def _setting(comparison: Comparison) -> str:
    settings = comparison.baseline.settings
    episodes = sorted(set(comparison.episodes))
    count = f"{episodes[0]:,}" if len(episodes) == 1 else f"{episodes[0]:,} to {episodes[-1]:,}"
    digests = ", ".join(
        f"fold {f} {digest[:8]}" for f, digest in zip(comparison.folds, comparison.digests, strict=True)
    )
    known = [images for images in comparison.images if images is not None]
    images = f": {images_words(known)}" if known else ""
    where = "the protocol's input size" if comparison.resolution == "input" else "the images' own size"
    return (
        f"{settings.way}-way {settings.shot}-shot, {count} episodes a fold{images} (digests: {digests}), pixels "
        f"counted at {where}."
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
        f"{comparison.baseline.settings.protocol_label}: IoU by class",
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
        f"{comparison.baseline.settings.protocol_label}: over training seeds",
        ("method", "metric"),
        ("difference",),
        rows,
        f"Percent, {_overall_name(comparison)}: mean ± standard deviation (n - 1) over the training seeds "
        f"{', '.join(map(str, comparison.seeds[0]))}. This is the spread of training again; the intervals above "
        "hold for these trainings.",
    )


def _power(comparison: Comparison, wanted: float) -> Table:
    crossed = comparison.interval == "images"
    rows = []
    for versus in comparison.versus:
        for metric in METRICS:
            for i, (where, own) in enumerate(places(comparison, versus, metric)):
                labels = _texts(versus.other.label, METRIC_NAMES[metric], where)
                fold = i if i < len(comparison.folds) else None
                rows.append((*labels, *_power_cells(own, power_of(comparison, own, wanted / 100, fold), crossed)))
    now = span(round(count) for count in images_a_class(comparison)) if crossed else ""
    heads = ["standard error", f"resolvable with {max(comparison.episodes):,}", "episodes a fold"]
    if crossed:
        heads[2:2] = ["with any number of episodes"]
        heads.append(f"images a class (now {now})")
    return _table(
        comparison,
        "power",
        f"What resolves a difference of {wanted:g} percent points",
        ("method", "metric", "folds"),
        heads,
        rows,
        f"Percent points. A true difference of the resolvable size is found ({100 * comparison.level:g} % level, "
        f"two-sided) {100 * _POWER:g} times in 100. {_POWER_WORDS[comparison.interval]}",
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


def images_a_class(comparison: Comparison) -> list[float]:
    """Query images of a class, for each fold; empty where the images are not known."""
    known = [images for images in comparison.images if images is not None]
    return [images.numbers.queries / len(set(images.classes[:, 0].tolist())) for images in known]


def power_of(comparison: Comparison, own: Adjusted, difference: float, fold: int | None = None) -> Power | None:
    """What it takes to resolve ``difference`` (0..1) where the observed one varied as ``own`` does.

    Args:
        comparison: the whole.
        own: one of its differences.
        difference: to be found.
        fold: position of the fold that ``own`` is of; None for the mean over the folds.

    Returns:
        None where no standard error is known.
    """
    found, episodes = own.difference, max(comparison.episodes)
    if not found.error:
        return None
    now = resolvable(found.error, df=found.df, level=comparison.level, power=_POWER)
    needed = episodes_needed(
        *(found.error, episodes, difference),
        lasting=found.lasting or 0.0,
        df=found.df,
        level=comparison.level,
        power=_POWER,
    )
    if found.lasting is None:
        return Power(now, None, needed, None)
    every = images_a_class(comparison)
    count = every[fold] if fold is not None else sum(every) / len(every)
    images = images_needed(found.error, count, difference, df=found.df, level=comparison.level, power=_POWER)
    best = resolvable(found.lasting, df=found.df, level=comparison.level, power=_POWER)
    return Power(now, best, needed, images)


def _power_cells(own: Adjusted, found: Power | None, crossed: bool) -> list[Cell]:
    error = own.difference.error
    if found is None or error is None:
        return [Cell(MISSING, note=own.difference.unknown), *([Cell(MISSING)] * (4 if crossed else 2))]
    none = "no number of episodes of these images resolves the difference; more images do"
    episodes = Cell("none suffices", note=none) if found.episodes is None else _count(found.episodes)
    cells = [Cell(f"{100 * error:.3f}", 100 * error), _points(found.resolvable), episodes]
    if found.at_best is not None and found.images is not None:
        cells[2:2] = [_points(found.at_best)]
        cells.append(_count(found.images))
    return cells


def _points(difference: float) -> Cell:
    return Cell(f"{100 * difference:.2f}", 100 * difference)


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)


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
            "protocol_label": printable(settings.protocol_label),
            "protocol_digest": settings.protocol_digest,
            "baseline": printable(comparison.baseline.label),
            "resolution": comparison.resolution,
        },
    )


def _texts(*texts: str) -> list[Cell]:
    return [Cell(printable(text)) for text in texts]


def _number_cells(own: Adjusted) -> list[Cell]:
    found = own.difference
    sides = [
        Cell(f"{100 * found.baseline:.2f}", 100 * found.baseline),
        Cell(f"{100 * found.other:.2f}", 100 * found.other),
    ]
    value = 100 * found.value
    if found.low is None or found.high is None:
        missing = Cell(MISSING, note=f"no interval: {found.unknown}")
        return [*sides, Cell(f"{value:+.2f}", value), missing, _p_cell(found.p), _p_cell(own.p_holm)]
    low, high = 100 * found.low, 100 * found.high
    return [
        *sides,
        Cell(f"{value:+.2f}", value, low, high),
        Cell(f"{low:+.2f} to {high:+.2f}", None, low, high),
        _p_cell(found.p),
        _p_cell(own.p_holm),
    ]


def _p_cell(p: float | None) -> Cell:
    return Cell(p_text(p), p)


def p_text(p: float | None) -> str:
    """A p-value as it is printed: never 0, since no test at hand is that exact."""
    if p is None:
        return MISSING
    if p < _LEAST_P:
        return f"< {_LEAST_P:.0e}"
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _spread_cell(spread: SeedSpread | None) -> Cell:
    if spread is None:
        return Cell(MISSING, note="the two sides have different training seeds")
    if spread.deviation is None:
        return Cell(f"{100 * spread.mean:.2f}", 100 * spread.mean, note="one training seed")
    return Cell(f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f}", 100 * spread.mean)
