"""Runs of released checkpoints: which share a row, on whose episodes they are, and what keeps them from a claim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.load import LIST_GIVEN, load_protocol
from fsseg_bench.report.blocks import same_rules
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.model import printable
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.seen import seen_of_row
from fsseg_bench.report.words import given_list, natural, short
from fsseg_bench.seen import TRUTH


class Kind(NamedTuple):
    """What must be equal before a claim's two measurements stand in one row."""

    method: str
    backbone: str
    protocol: str
    way: int
    what: str
    """The network, in the authors' words."""


@dataclass(frozen=True)
class Line:
    """One row of runs on the authors' episodes, one on the protocol's; at least one of them."""

    kind: Kind
    theirs: Row | None
    own: Row | None

    @property
    def rows(self) -> list[Row]:
        """Those that are there."""
        return [row for row in (self.theirs, self.own) if row]

    @cached_property
    def runs(self) -> list[ScoredRun]:
        """All of both."""
        return [run for row in self.rows for run in row.all_runs]


def released(run: ScoredRun) -> Mapping[str, Any] | None:
    """What a record says of the released file that it evaluated; None where it evaluated none."""
    trained = run.record.info.trained
    return trained.released if trained and run.record.info.settings.checkpoint_digest else None


def lines(collection: Collection) -> list[Line]:
    """The lines of all finished runs of released checkpoints, sorted. No run is dropped.

    Several rows of one kind (other settings, files or lists) are lines of their own.
    """
    groups: dict[tuple[Any, ...], list[ScoredRun]] = defaultdict(list)
    for run in collection.done:
        if found := released(run):
            groups[run.record.settings.rules, found.get("what", "")].append(run)
    theirs: dict[Kind, list[Row]] = defaultdict(list)
    own: dict[Kind, list[Row]] = defaultdict(list)
    for (_, what), runs in groups.items():
        for row in group_rows(runs, collection, all_given=True):
            settings = row.settings
            kind = Kind(settings.method, settings.backbone, settings.protocol, settings.way, str(what))
            (theirs if _replayed(row) else own)[kind].append(row)
    kinds = sorted({*theirs, *own}, key=lambda kind: [natural(str(part)) for part in kind])
    return [line for kind in kinds for line in _paired(kind, theirs[kind], own[kind])]


def _paired(kind: Kind, theirs: Sequence[Row], own: Sequence[Row]) -> Iterable[Line]:
    plain = [row for row in own if not other_rules(row)]
    single = plain[0] if len(plain) == 1 else None
    yield from (Line(kind, row, single) for row in theirs)
    yield from (Line(kind, None, row) for row in own if row is not single or not theirs)


def _replayed(row: Row) -> bool:
    return any(given_list(run.record) for run in row.all_runs)


def other_rules(row: Row) -> str:
    """What is otherwise than the built-in protocol of this name, apart from replayed episodes; empty: nothing."""
    settings = row.settings
    if settings.protocol not in builtin_protocols():
        return ""
    if changes := changed_rules(row):
        return f"other rules than the protocol's: {changes}"
    protocol = load_protocol(settings.protocol)
    if not _replayed(row) and not all(same_rules(run, protocol) for run in row.all_runs):
        return f"measured under version {settings.protocol_version} of the protocol, or an edited one"
    return ""


def changed_rules(row: Row) -> str:
    """The changes of the protocol that a run's label says, apart from replayed episodes."""
    inside = row.settings.protocol_label.removeprefix(row.settings.protocol).strip("[]")
    return printable(",".join(part for part in inside.split(",") if part and part != LIST_GIVEN))


def unlike_file(row: Row) -> str:
    """Switches that were set otherwise than the file needs, and a look at the query's truth; empty: none."""
    settings, found = row.settings, released(row.all_runs[0]) or {}
    needed = found.get("switches", {})
    parts = [
        f"{name}={short(settings.switches[name])} is set, and the released network has {short(value)}"
        for name, value in needed.items()
        if name in settings.switches and json.dumps(settings.switches[name]) != json.dumps(value)
    ]
    if TRUTH in seen_of_row(row).extra_data:
        parts.append("the query's true mask was read")
    return "; ".join(parts)
