"""Tables of what methods recorded step by step in their inner loops."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from fsseg_bench.report.collect import ScoredRun
from fsseg_bench.report.html.runs import Group
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.rows import Row


def step_tables(group: Group) -> Iterator[Table]:
    """A table for each number of shots of which a method recorded lists, one value a step."""
    for shot in group.shots:
        found = [(row, name, steps) for row in group.rows for name, steps in _recorded(row, shot).items()]
        if not found:
            continue
        length = max(len(steps) for _, _, steps in found)
        heads = ("method", "backbone", "settings", "quantity")
        yield Table(
            name=f"steps-{group.title}-{shot}shot",
            title=f"{group.title} {shot}-shot: inner loop by step",
            caption=(
                "What each method recorded before the first step (0) and after each one: the mean over a run's "
                "episodes, then over the row's folds. Angles are in degrees from the start; losses are "
                "of the support."
            ),
            columns=(
                *(Column(("", head), merge=head != "quantity") for head in heads),
                *(Column(("step", str(i)), {"shot": shot, "step": i}) for i in range(length)),
            ),
            labels=len(heads),
            rows=tuple(_line(row, name, steps, length) for row, name, steps in found),
        )


def _line(row: Row, name: str, steps: list[float], length: int) -> tuple[Cell, ...]:
    labels = [Cell(printable(text)) for text in (row.method, row.backbone, row.variant, name)]
    values = [Cell(f"{value:.3f}", value) for value in steps]
    return (*labels, *values, *[Cell(MISSING)] * (length - len(steps)))


def _recorded(row: Row, shot: int) -> dict[str, list[float]]:
    """The lists that all of the row's folds have, averaged over these."""
    folds = [_lists(run) for run in row.runs.get(shot, {}).values()]
    if not folds:
        return {}
    return {
        name: [fmean(values) for values in zip(*(own[name] for own in folds), strict=True)]
        for name, first in folds[0].items()
        if all(len(own.get(name, ())) == len(first) for own in folds)
    }


def _lists(run: ScoredRun) -> dict[str, list[float]]:
    return {
        name: [float(value) for value in values]
        for name, values in run.record.info.diagnostics.items()
        if isinstance(values, list) and len(values) > 1 and all(isinstance(v, (int, float)) for v in values)
    }
