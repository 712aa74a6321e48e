"""What each convention of scoring is worth: the same predictions under all of them, and whether the order changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fsseg_bench.protocol.conventions import CONVENTIONS, Convention, FoldPixels, Way
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.checkpoint_choice import WARNING, Choice, best_way, choice_table, choices_of
from fsseg_bench.report.contender import Contender, Matched, match
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.words import METRIC_NAMES

_MOST_NAMED = 3
_LABELS = ("convention", "used by")
NOT_HERE = (
    "What other images, masks, lists, supports or query scales would have given cannot be told from these predictions: "
    "such runs are made with the protocol's episodes.support_replacement set true, or with --scales."
)


class Worth(NamedTuple):
    """A convention with each contender's score in percent; None where records do not hold what it counts."""

    convention: Way
    scores: tuple[float | None, ...] | None
    swapped: tuple[tuple[str, str], ...]
    """Pairs (upper, lower) whose order is not that under the protocol."""


def worths(contenders: Sequence[Contender]) -> tuple[Matched, list[Worth]]:
    """All conventions, on the folds and training seeds that the contenders have in common.

    Raises:
        UserError: as :func:`fsseg_bench.report.contender.match`; a class has no episode; a damaged record.
    """
    matched = match(contenders)
    pixels = [
        [[_pixels(contender.runs[fold][seed]) for fold in matched.folds] for seed in seeds]
        for contender, seeds in zip(contenders, matched.seeds, strict=True)
    ]
    names = [contender.label for contender in contenders]
    found: list[Worth] = []
    before: dict[Metric, Sequence[float]] = {}
    for convention in CONVENTIONS:
        if contenders[0].settings.way >= convention.least_ways:
            scores = _scores(convention, pixels)
            reference = before.setdefault(convention.metric, scores or ())
            found.append(Worth(convention, scores, _swapped(names, reference, scores) if scores else ()))
    return matched, found


def _scores(convention: Convention, pixels: Sequence[Sequence[Sequence[FoldPixels]]]) -> tuple[float, ...] | None:
    scores = [[convention.score(folds) for folds in seeds] for seeds in pixels]
    known = [[one for one in own if one is not None] for own in scores]
    if any(len(some) < len(own) for some, own in zip(known, scores, strict=True)):
        return None
    return tuple(100 * float(np.mean(own)) for own in known)


def _swapped(
    names: Sequence[str], before: Sequence[float], after: Sequence[float | None]
) -> tuple[tuple[str, str], ...]:
    """Pairs that stand the other way round, named in their new order; equal ones have none."""
    pairs = []
    known = [(name, then, now) for name, then, now in zip(names, before, after, strict=True) if now is not None]
    for i in range(len(known)):
        for j in range(i):
            (upper, then_upper, now_upper), (lower, then_lower, now_lower) = known[j], known[i]
            then, now = then_upper - then_lower, now_upper - now_lower
            if then * now < 0:
                pairs.append((upper, lower) if now > 0 else (lower, upper))
    return tuple(pairs)


def _pixels(run: StoredRun) -> FoldPixels:
    counts, void = run.counts(), run.void_counts()
    cells: Mapping[Resolution, np.ndarray] = {"input": counts.input, "native": counts.native}
    return FoldPixels(
        counts.classes,
        run.novel,
        cells,
        None if void is None else {"input": void.input, "native": void.native},
        run.settings.headline,
        run.settings.runs or 1,
    )


def conventions_tables(contenders: Sequence[Contender], *, checkpoints: bool = False) -> list[Table]:
    """A table for each metric: a row for each convention, a column for each contender; percent.

    With ``checkpoints`` also what the best of the kept checkpoints on the test episodes scores, and a table of it.

    Errors as :func:`worths`, and of checkpoints as
    :func:`fsseg_bench.report.checkpoint_choice.choices_of`.
    """
    matched, found = worths(contenders)
    choices = choices_of(contenders, matched) if checkpoints else []
    protocol = [score for score in found[0].scores or () if score is not None]
    if choices:
        found.append(_best(contenders, choices, protocol))
    tables = [
        _table(metric, contenders, matched, [w for w in found if w.convention.metric == metric], chosen=bool(choices))
        for metric in dict.fromkeys(worth.convention.metric for worth in found)
    ]
    return [*tables, choice_table(contenders, choices, protocol, _about(contenders))] if choices else tables


def _best(contenders: Sequence[Contender], choices: Sequence[Choice | None], protocol: Sequence[float]) -> Worth:
    scores = tuple(None if one is None else one.best for one in choices)
    return Worth(best_way(choices), scores, _swapped([one.label for one in contenders], protocol, scores))


def _about(contenders: Sequence[Contender]) -> str:
    settings = contenders[0].settings
    return f"{printable(settings.protocol_label)}, {settings.way}-way {settings.shot}-shot"


def _table(
    metric: Metric, contenders: Sequence[Contender], matched: Matched, found: Sequence[Worth], *, chosen: bool
) -> Table:
    lacking = [w.convention.name for w in found if w.scores is None]
    heads = [Column((name,)) for name in _LABELS]
    columns = [*heads, *(Column((printable(c.label),), {"method": c.settings.method}) for c in contenders)]
    return Table(
        name=f"conventions-{metric}",
        title=f"What each convention is worth: {METRIC_NAMES[metric]} of {_about(contenders)}",
        caption="Percent, and in brackets the difference to this protocol; the same predictions in every row"
        + (" but that of checkpoints." if chosen and metric == "mean" else "."),
        columns=(*columns, Column(("order",))),
        labels=len(_LABELS),
        rows=tuple(_row(worth, found[0]) for worth in found),
        facts={"metric": metric},
        remarks=(
            *([WARNING] if chosen and metric == "mean" else []),
            *matched.notes,
            f"Folds: {', '.join(map(str, matched.folds))}. A difference is exact for these predictions; scores are as "
            "uncertain as the report says, and an order among methods that `compare` does not tell apart says little.",
            *(
                [f"The records do not hold what was predicted at void pixels, so no number for: {', '.join(lacking)}."]
                if lacking
                else []
            ),
            NOT_HERE,
        ),
    )


def _row(worth: Worth, protocol: Worth) -> tuple[Cell, ...]:
    convention = worth.convention
    labels = (Cell(convention.name, note=convention.words), Cell(convention.users))
    count = len(protocol.scores or ())
    if worth.scores is None or protocol.scores is None:
        return (*labels, *[Cell(MISSING)] * count, Cell(MISSING))
    cells = []
    for score, before in zip(worth.scores, protocol.scores, strict=True):
        if score is None or before is None:
            cells.append(Cell(MISSING))
            continue
        difference = "" if worth is protocol else f" ({round(score - before, 2) + 0.0:+.2f})"  # no minus before 0
        cells.append(Cell(f"{score:.2f}{difference}", score))
    if worth is protocol:
        order = ", ".join(str(i + 1) for i in np.argsort(-np.asarray(worth.scores, np.float64), kind="stable"))
        note = "by the columns' numbers, best first"
        return (*labels, *cells, Cell(order, note=note) if count > 1 else Cell(MISSING))
    named = "; ".join(f"{upper} over {lower}" for upper, lower in worth.swapped[:_MOST_NAMED])
    left = len(worth.swapped) - _MOST_NAMED
    more = f" and {left} {'pair' if left == 1 else 'pairs'} more" if left > 0 else ""
    if count < 2:
        return (*labels, *cells, Cell(MISSING))
    return (*labels, *cells, Cell(printable(f"changes: {named}{more}") if named else "the same"))
