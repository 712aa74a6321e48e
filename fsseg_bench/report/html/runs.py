"""The runs that a page is about: their names, the rows that they form, and what they recorded step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.html.page import anchor
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.rows import group_rows


@dataclass(frozen=True)
class ShownRun:
    """A finished run as the page names it."""

    scored: ScoredRun
    path: str
    """Its folder relative to the results folder."""
    variant: str
    """What tells it from other runs of its method and backbone; may be empty."""

    @property
    def anchor(self) -> str:
        """The fragment of its part of the page."""
        return anchor(self.path)

    @property
    def name(self) -> str:
        """What it is, plain text."""
        s = self.scored.record.settings
        name = f"{s.method}, {s.backbone}, {s.protocol_label} fold {s.fold}, {s.way}-way {s.shot}-shot, seed {s.seed}"
        return f"{name} ({self.variant})" if self.variant else name


class Group(NamedTuple):
    """The rows made under one set of rules."""

    title: str
    rows: Sequence[Row]

    @property
    def shots(self) -> list[int]:
        """The numbers of shots, ascending."""
        return sorted({shot for row in self.rows for shot in row.runs})


def groups(collection: Collection) -> list[Group]:
    """The finished runs' rows by protocol (label, version, digest) and number of ways."""
    labels = [(label, way) for _, label, _, _, way in collection.by_rules]
    return [
        Group(
            f"{label}, {way}-way"
            + (f", version {version}, digest {digest[:8]}" if labels.count((label, way)) > 1 else ""),
            group_rows(runs, collection),
        )
        for (_, label, version, digest, way), runs in sorted(collection.by_rules.items())
    ]


def shown_runs(found: Sequence[Group], collection: Collection) -> Mapping[str, ShownRun]:
    """Folder, as cells name it, to run; in the order of rows, shots and folds."""
    shown = {}
    for row in (row for group in found for row in group.rows):
        for _, runs in sorted(row.runs.items()):
            for _, run in sorted(runs.items()):
                path = collection.path(run.record)
                shown[path] = ShownRun(run, path, row.variant)
    return shown


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
