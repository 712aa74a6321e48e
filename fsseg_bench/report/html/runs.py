"""The runs that a page is about: their names, and the rows that they form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.html.text import anchor
from fsseg_bench.report.rows import Row, group_rows

_Key = tuple[str, str, int, str, int]


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
    by_rules: dict[_Key, list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        by_rules[run.record.settings.rules].append(run)
    labels = [(label, way) for _, label, _, _, way in by_rules]
    return [
        Group(
            f"{label}, {way}-way"
            + (f", version {version}, digest {digest[:8]}" if labels.count((label, way)) > 1 else ""),
            group_rows(runs, collection),
        )
        for (_, label, version, digest, way), runs in sorted(by_rules.items())
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
