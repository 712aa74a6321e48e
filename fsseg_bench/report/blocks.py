"""Which published row and which runs stand beside each other in a table of the paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.model import printable
from fsseg_bench.report.papers import PaperProtocol, PaperTable, Place
from fsseg_bench.report.published import PrintedSeen, PublishedNumber, mean_note
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.report.words import given_list, natural, plain


@dataclass(frozen=True)
class PublishedRow:
    """The numbers of one printed row."""

    numbers: Mapping[Place, PublishedNumber]
    seen: PrintedSeen | None = None
    """What was seen for them; None where nobody says."""

    @property
    def first(self) -> PublishedNumber:
        """One of its numbers: what all share is read there."""
        return next(iter(self.numbers.values()))

    @property
    def note(self) -> str:
        """What holds for the whole row."""
        notes = {number.note for number in self.numbers.values()}
        return notes.pop() if len(notes) == 1 else ""

    def number_note(self, number: PublishedNumber, table: PaperTable) -> str:
        """What holds for one number: its remarks, errata, a mean that is not the mean of its folds."""
        parts = [number.note if number.note != self.note else ""]
        if number.fold == "mean":
            folds = [n for n in self.numbers.values() if n.shot == number.shot and n.fold != "mean"]
            parts.append(mean_note(number, folds, len(table.paper.folds[number.protocol])))
        errata = (e for e in table.paper.errata if not e.whole_table and e.concerns(number, table.name))
        return "; ".join(filter(None, [*parts, *(erratum.text for erratum in errata)]))


class Pair(NamedTuple):
    """One row of a table: what was published beside what was measured; at least one of them is there."""

    protocol: PaperProtocol
    printed: PublishedRow | None
    measured: Row | None

    @property
    def backbone(self) -> str:
        """As printed, or as measured."""
        return (
            self.printed.first.backbone if self.printed else printable(self.measured.backbone) if self.measured else ""
        )


@dataclass(frozen=True)
class Block:
    """The rows of one protocol."""

    protocol: PaperProtocol
    pairs: tuple[Pair, ...]
    elsewhere: tuple[ScoredRun, ...]
    """Finished runs of this protocol's name under other rules: another version or digest."""


class Measured:
    """The measured rows of the built-in protocols, grouped once for all tables."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._rows: dict[str, list[Row]] = {}

    def rows(self, protocol: Protocol) -> list[Row]:
        """The 1-way rows of runs under exactly these rules."""
        if protocol.digest not in self._rows:
            runs = [run for run in self._named(protocol) if same_rules(run, protocol)]
            self._rows[protocol.digest] = group_rows(runs, self._collection, all_given=True)
        return self._rows[protocol.digest]

    def elsewhere(self, protocol: Protocol) -> tuple[ScoredRun, ...]:
        """The 1-way runs of a protocol of this name with another version or digest."""
        return tuple(run for run in self._named(protocol) if not same_rules(run, protocol))

    def _named(self, protocol: Protocol) -> Iterator[ScoredRun]:
        for run in self._collection.done:
            if run.record.settings.protocol == protocol.name and run.record.settings.way == 1:
                yield run


def same_rules(run: ScoredRun, protocol: Protocol) -> bool:
    """Whether a run was made under exactly this protocol, on its own episodes.

    Records from before lists were part of the digest say in their options alone that they replayed one.
    """
    settings = run.record.settings
    rules = settings.protocol_version, settings.protocol_digest
    return rules == (protocol.version, protocol.digest) and not given_list(run.record)


def blocks(table: PaperTable, measured: Measured) -> list[Block]:
    """The blocks of a table, one for each protocol."""
    made = []
    for protocol in table.rules:
        rules = protocol.rules if table.scored else None
        runs = measured.rows(rules) if rules else []
        elsewhere = measured.elsewhere(rules) if rules else ()
        pairs = _pairs(table, protocol, printed_rows(table, protocol.name), runs)
        made.append(Block(protocol, tuple(pairs), elsewhere))
    return made


def several_scales(protocol: PaperProtocol, settings: RunSettings) -> bool | None:
    """Whether a run saw queries at the protocol's several scales (True), at one (False), or at others (None)."""
    several = protocol.rules.scoring.scales if protocol.rules else None
    return False if settings.scales == (1.0,) else True if settings.scales == several else None


def printed_scales(row: PublishedRow) -> bool | None:
    """Whether queries were seen at several scales in print; None where that is not stated."""
    return {"yes": True, "inferred": True, "no": False}.get(row.first.multi_scale)


def printed_rows(table: PaperTable, protocol: str) -> list[PublishedRow]:
    """The published rows of a protocol, by backbone."""
    found: dict[tuple[str, ...], dict[Place, PublishedNumber]] = defaultdict(dict)
    for n in table.numbers:
        if n.protocol == protocol and n.shot is not None:
            scales = n.multi_scale if table.by_scales else ""
            source = n.source if table.paper.said.collected else ""
            found[n.method, n.name, n.backbone, scales, source][n.shot, n.fold] = n
    made = [PublishedRow(row, table.paper.seen.get((key[0], key[2]))) for key, row in found.items()]
    rows = sorted(made, key=lambda row: natural(row.first.backbone))
    return sorted(rows, key=lambda row: not row.first.backbone.upper().startswith("VGG"))


def _pairs(
    table: PaperTable, protocol: PaperProtocol, printed: Sequence[PublishedRow], rows: Sequence[Row]
) -> list[Pair]:
    """Each printed row with every measured row of its method and backbone, then the measured ones left over."""
    taken = set[int]()
    pairs = []
    for printed_row in printed:
        fitting = [i for i, row in enumerate(rows) if _fits(table, protocol, printed_row, row)]
        taken.update(fitting)
        pairs += [Pair(protocol, printed_row, rows[i]) for i in fitting] or [Pair(protocol, printed_row, None)]
    listed = {plain(row.first.name) for row in printed}
    left = [row for i, row in enumerate(rows) if i not in taken and (table.others or plain(row.method) in listed)]
    pairs += [Pair(protocol, None, row) for row in left if set(row.runs) & set(table.shots)]
    order = list(dict.fromkeys(plain(pair.backbone) for pair in pairs))
    return sorted(pairs, key=lambda pair: order.index(plain(pair.backbone)))


def _fits(table: PaperTable, protocol: PaperProtocol, printed: PublishedRow, row: Row) -> bool:
    same = (plain(printed.first.name), plain(printed.first.backbone)) == (plain(row.method), plain(row.backbone))
    if not (same and set(row.runs) & set(table.shots)):
        return False
    return not table.by_scales or several_scales(protocol, row.settings) == printed_scales(printed)
