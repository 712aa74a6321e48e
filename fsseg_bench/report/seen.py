"""What was seen for the numbers of a row: its marks, and what a table or a ranking says where rows differ in it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from fsseg_bench.records.read import StoredRun
from fsseg_bench.registry import what_was_seen
from fsseg_bench.report.blocks import Pair, PublishedRow
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.model import Table
from fsseg_bench.seen import (
    BY_LABELS,
    BY_MASKS,
    BY_UNNAMED_MASKS,
    FIELDS,
    NOTHING_KNOWN,
    OTHER_IMAGES,
    OWN_QUERY,
    UNKNOWN,
    Seen,
    read,
    together,
)

MIXED = "Ranks compare rows that differ in what was seen (see their marks)."
"""What a table says whose ranking is mixed."""

_NOVEL = {
    BY_LABELS: "novel classes seen: image labels in pretraining",
    BY_UNNAMED_MASKS: "novel classes seen: masks without names in pretraining",
    BY_MASKS: "novel classes seen: masks",
}
_TRANSDUCTIVE = {
    OWN_QUERY: "transductive: trained at test time on the query's own pixels",
    OTHER_IMAGES: "transductive: unlabelled images beside the query are read",
}


def seen_of_run(run: StoredRun) -> Seen:
    """What its record says; of earlier versions' records what the cards say of its method, backbone and weights."""
    if run.info.seen is not None:
        return read(run.info.seen)
    settings = run.settings
    elsewhere = "protocol_label" in (settings.trained_with or {})
    weights = None if settings.parameters == "unknown" else settings.weights
    return _by_cards(
        settings.method, settings.backbone, weights, settings.protocol, json.dumps(settings.switches), elsewhere
    )


@lru_cache(1 << 10)  # runs of one method differ in fold and seed
def _by_cards(method: str, backbone: str, weights: str | None, protocol: str, switches: str, elsewhere: bool) -> Seen:
    return what_was_seen(method, backbone, weights, protocol, json.loads(switches), trained_elsewhere=elsewhere)


def seen_of_row(row: Row) -> Seen:
    """Of all its runs."""
    return together(seen_of_run(run.record) for run in row.all_runs)


def marks(seen: Seen) -> tuple[str, ...]:
    """What sets numbers apart from those of an inductive method with random weights, a note each."""
    found = [_words(_NOVEL, seen.novel_classes), _words(_TRANSDUCTIVE, seen.transductive)]
    if "text" in seen.supervision:
        found.append("pretrained with text")
    if seen.test_time_training not in {"none", UNKNOWN} and seen.transductive != OWN_QUERY:
        found.append("trained at test time")
    if seen.extra_data not in {"none", UNKNOWN}:
        found.append(f"extra data: {seen.extra_data}")
    if seen == NOTHING_KNOWN:
        found.append("what was seen is not known")
    elif UNKNOWN in vars(seen).values():
        found.append("what was seen is not known in part")
    return tuple(filter(None, found))


def _words(known: Mapping[str, str], value: str) -> str:
    """Of several values those of each."""
    return " / ".join(known[part] for part in value.split(" / ") if part in known)


def facts(seen: Seen, source: str) -> dict[str, str]:
    """As a number's cell holds them for machines, with how they are known."""
    return {**vars(seen), "seen_source": source}


def source_of(run: StoredRun) -> str:
    """How it is known what a run had seen."""
    return "card" if run.info.seen is None else "record"


def of_runs(runs: Iterable[StoredRun]) -> dict[str, str] | None:
    """The facts of a number measured with these runs; None without any."""
    given = list(runs)
    if not given:
        return None
    sources = dict.fromkeys(map(source_of, given))
    return facts(together(map(seen_of_run, given)), " / ".join(sources))


def printed_seen(row: PublishedRow) -> Seen:
    """What was seen for a printed row."""
    return row.seen.seen if row.seen else NOTHING_KNOWN


def marks_of_pair(pair: Pair) -> tuple[str, ...]:
    """Of a row with published and measured numbers; what holds for one kind alone says so."""
    printed = marks(printed_seen(pair.printed)) if pair.printed else None
    measured = marks(seen_of_row(pair.measured)) if pair.measured else None
    if printed is None or measured is None:
        return printed or measured or ()
    return (
        *(mark for mark in printed if mark in measured),
        *(f"published number, {mark}" for mark in printed if mark not in measured),
        *(f"measured number, {mark}" for mark in measured if mark not in printed),
    )


def marked(table: Table, rows: Sequence[tuple[str, ...]], column: int, groups: Sequence[Hashable]) -> Table:
    """``table`` with the marks of its rows at the labels of a column.

    A mark that all rows have is said once below the table instead. Where rows of one of ``groups``, within which
    numbers are ranked, differ in their marks, a remark says so.
    """
    shared = [mark for mark in rows[0] if all(mark in own for own in rows)] if rows else []
    own = [tuple(mark for mark in row if mark not in shared) for row in rows]
    body = [
        tuple(replace(cell, marks=new) if i == column else cell for i, cell in enumerate(row))
        for row, new in zip(table.rows, own, strict=True)
    ]
    differing = {group for group in groups if len({o for o, g in zip(own, groups, strict=True) if g == group}) > 1}
    remarks = [f"All rows: {'; '.join(shared)}."] if shared else []
    remarks += [MIXED] if table.ranked and differing - {None} else []
    return replace(table, rows=tuple(body), remarks=(*table.remarks, *remarks))


def differences(rows: Iterable[tuple[str, Seen]]) -> list[str]:
    """A line where named rows differ in what was seen: for each field its values, each with their names."""
    named = list(rows)
    parts = []
    for field in FIELDS:
        holders: dict[str, list[str]] = {}
        for name, seen in named:
            holders.setdefault(getattr(seen, field), []).append(name)
        if len(holders) > 1:
            words = "; ".join(f"{', '.join(dict.fromkeys(names))}: {value}" for value, names in holders.items())
            parts.append(f"{field.replace('_', ' ')} ({words})")
    return [f"What was seen differs: {', '.join(parts)}."] if parts else []
