"""Which published row and which runs stand beside each other in a table of the paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.collect import Collection, ScoredRun
from fsseg_bench.report.given import given_list
from fsseg_bench.report.model import printable
from fsseg_bench.report.published import FoldOrMean, PublishedNumber, errata, mean_note, published
from fsseg_bench.report.rows import Row, group_rows
from fsseg_bench.report.words import natural

Place = tuple[int, FoldOrMean]
"""Shot, and fold or mean."""


@dataclass(frozen=True)
class PaperTable:
    """What one of the paper's tables shows."""

    name: str
    title: str
    protocols: tuple[str, ...]
    metric: Metric
    shots: tuple[int, ...]
    number: int | None = None
    """In the BiOpt paper; None for numbers from elsewhere."""
    folds: bool = True
    """Whether single folds have columns, beside the mean."""
    others: bool = True
    """Whether runs of methods that the table does not list get rows."""
    by_scales: bool = False
    """Whether rows are told apart by query scales."""

    @property
    def places(self) -> list[Place]:
        """The columns."""
        folds: tuple[FoldOrMean, ...] = (1, 2, 3, 4, "mean") if self.folds else ("mean",)
        return [(shot, fold) for shot in self.shots for fold in folds]


_COCO = ("coco20i-a", "coco20i-b")
PAPER_TABLES: Mapping[str, PaperTable] = {
    table.name.removeprefix("table-"): table
    for table in (
        PaperTable("table-1", "BiOpt paper, Table 1: PASCAL-5i, mean-IoU", ("pascal5i",), "mean", (1, 5), 1),
        PaperTable("table-2", "BiOpt paper, Table 2: COCO-20i, mean-IoU", _COCO, "mean", (1, 5), 2),
        PaperTable(
            "table-3", "BiOpt paper, Table 3: binary-IoU", ("pascal5i", *_COCO), "binary", (1, 5), 3, folds=False
        ),
        PaperTable(
            "table-4",
            "BiOpt paper, Table 4: ablation, PASCAL-5i, mean-IoU",
            ("pascal5i",),
            "mean",
            (1,),
            4,
            others=False,
        ),
        PaperTable(
            *("table-5", "BiOpt paper, Table 5: query scales, mean-IoU", ("pascal5i", "coco20i-a"), "mean", (1, 5), 5),
            folds=False,
            others=False,
            by_scales=True,
        ),
    )
}
"""The paper's tables by number."""

LATER_TABLES = (
    PaperTable("later-mean", "Later methods: mean-IoU", ("pascal5i", *_COCO), "mean", (1, 5), others=False),
    PaperTable("later-binary", "Later methods: binary-IoU", ("pascal5i", *_COCO), "binary", (1, 5), others=False),
)
"""Numbers that the BiOpt paper does not have, each with its kind of source."""


@dataclass(frozen=True)
class PublishedRow:
    """The numbers of one printed row."""

    method: str
    name: str
    """For ``--method``; empty where no method here would be the same thing."""
    backbone: str
    protocol: str
    numbers: Mapping[Place, PublishedNumber]

    @property
    def first(self) -> PublishedNumber:
        """One of its numbers: what all share is read there."""
        return next(iter(self.numbers.values()))

    @property
    def note(self) -> str:
        """What holds for the whole row."""
        notes = {number.note for number in self.numbers.values()}
        return notes.pop() if len(notes) == 1 else ""

    def number_note(self, number: PublishedNumber) -> str:
        """What holds for one number: own remarks, errata, a mean that is not the mean of its folds."""
        shot = next(shot for (shot, _), own in self.numbers.items() if own is number)
        parts = [number.note if number.note != self.note else ""]
        if number.fold == "mean":
            parts.append(
                mean_note(number, [n for (s, fold), n in self.numbers.items() if s == shot and fold != "mean"])
            )
        parts += [erratum.text for erratum in errata() if not erratum.whole_table and erratum.concerns(number)]
        return "; ".join(filter(None, parts))


class Pair(NamedTuple):
    """One row of a table: what was published beside what was measured; at least one of them is there."""

    protocol: Protocol
    printed: PublishedRow | None
    measured: Row | None

    @property
    def backbone(self) -> str:
        """As printed, or as measured."""
        return self.printed.backbone if self.printed else printable(self.measured.backbone) if self.measured else ""


@dataclass(frozen=True)
class Block:
    """The rows of one protocol."""

    protocol: Protocol
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
            own = [run for run in self._named(protocol) if same_rules(run, protocol)]
            self._rows[protocol.digest] = group_rows(own, self._collection, told=True)
        return self._rows[protocol.digest]

    def elsewhere(self, protocol: Protocol) -> tuple[ScoredRun, ...]:
        """The 1-way runs of a protocol of this name with another version or digest."""
        return tuple(run for run in self._named(protocol) if not same_rules(run, protocol))

    def _named(self, protocol: Protocol) -> Iterator[ScoredRun]:
        for run in self._collection.done:
            if run.record.settings["protocol"] == protocol.name and run.record.settings["way"] == 1:
                yield run


def same_rules(run: ScoredRun, protocol: Protocol) -> bool:
    """Whether a run was made under exactly this protocol, on its own episodes.

    Records from before lists were part of the digest say in their options alone that they replayed one.
    """
    settings = run.record.settings
    rules = settings["protocol_version"], settings["protocol_digest"]
    return rules == (protocol.version, protocol.digest) and not given_list(run.record)


def blocks(table: PaperTable, measured: Measured) -> list[Block]:
    """The blocks of a table, one for each protocol."""
    made = []
    for name in table.protocols:
        protocol = load_protocol(name)
        printed = _printed(table, name)
        pairs = _pairs(table, protocol, printed, measured.rows(protocol))
        made.append(Block(protocol, tuple(pairs), measured.elsewhere(protocol)))
    return made


def several_scales(protocol: Protocol, settings: Mapping[str, object]) -> bool | None:
    """Whether a run saw queries at the protocol's several scales (True), at one (False), or at others (None)."""
    scales = settings.get("scales") or [1.0]
    return False if scales == [1.0] else True if scales == list(protocol.scoring.scales) else None


def printed_scales(row: PublishedRow) -> bool | None:
    """Whether queries were seen at several scales in print; None where that is not stated."""
    return {"yes": True, "inferred": True, "no": False}.get(row.first.multi_scale)


@cache
def plain(name: str) -> str:
    """A name without case and signs: ``ResNet-50`` and ``resnet50`` are one."""
    return "".join(c for c in name.lower() if c.isalnum())


def _printed(table: PaperTable, protocol: str) -> list[PublishedRow]:
    found: dict[tuple[str, ...], dict[Place, PublishedNumber]] = defaultdict(dict)
    names: dict[tuple[str, ...], PublishedNumber] = {}
    for number in published():
        if (number.table, number.protocol, number.metric, number.way) != (table.number, protocol, table.metric, 1):
            continue
        if number.shot is None:
            continue
        scales = number.multi_scale if table.by_scales else ""
        source = "" if table.number else number.source
        key = number.method, number.name, number.backbone, scales, source
        names.setdefault(key, number)
        found[key][number.shot, number.fold] = number
    rows = [PublishedRow(n.method, n.name, n.backbone, protocol, found[key]) for key, n in names.items()]
    return sorted(rows, key=lambda row: _backbone_order(row.backbone))


def _backbone_order(name: str) -> tuple[bool, list[tuple[int, str]]]:
    return not name.upper().startswith("VGG"), natural(name)


def _pairs(table: PaperTable, protocol: Protocol, printed: Sequence[PublishedRow], rows: Sequence[Row]) -> list[Pair]:
    """Each printed row with every measured row of its method and backbone, then the measured ones left over."""
    taken = set[int]()
    pairs = []
    for own in printed:
        fitting = [i for i, row in enumerate(rows) if _fits(table, protocol, own, row)]
        taken.update(fitting)
        pairs += [Pair(protocol, own, rows[i]) for i in fitting] or [Pair(protocol, own, None)]
    listed = {plain(row.name) for row in printed}
    left = [row for i, row in enumerate(rows) if i not in taken and (table.others or plain(row.method) in listed)]
    pairs += [Pair(protocol, None, row) for row in left if set(row.runs) & set(table.shots)]
    return _by_backbone(pairs)


def _by_backbone(pairs: Iterable[Pair]) -> list[Pair]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(plain(pair.backbone), []).append(pair)
    return [pair for group in groups.values() for pair in group]


def _fits(table: PaperTable, protocol: Protocol, printed: PublishedRow, row: Row) -> bool:
    same = (plain(printed.name), plain(printed.backbone)) == (plain(row.method), plain(row.backbone))
    if not (same and set(row.runs) & set(table.shots)):
        return False
    return not table.by_scales or several_scales(protocol, row.settings) == printed_scales(printed)
